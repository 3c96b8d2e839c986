"""Several workers behind a real Envoy: all of them answer, and what becomes of one harms nobody."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mesh.address import free_address
from mesh.proxy import PROJECT, EnvoyProcess

StartEnvoy = Callable[..., AbstractAsyncContextManager[EnvoyProcess]]

CONFIG = """
workers: {workers}
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{drainDelay: 1s, grace: 2s}}
limits: {{perProcess: true}}
policies: {{files: [policies]}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: get-alone}
spec:
  authentication: {optional: true}
  rules: [{role: anonymous, to: [{methods: [GET]}]}]
"""


@dataclass
class Workers:
    """A supervisor with two workers."""

    process: "subprocess.Popen[bytes]"
    checks: tuple[str, str]
    admin: str

    def get(self, path: str) -> str:
        """What the admin listener answers."""
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    async def figure(self, name: str) -> float:
        """One sample of the figures of all."""
        text = await asyncio.to_thread(self.get, "/metrics")
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE))

    @property
    def pids(self) -> dict[int, int]:
        """The processes of the workers, by their number."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"--worker" in words and parent == self.process.pid:
                found[int(words[words.index(b"--worker") + 1].split(b":")[0])] = int(folder.name)
        return found

    async def until(self, ready: Callable[[str], bool], seconds: float = 10) -> None:
        """Wait for a report of readiness."""
        async with asyncio.timeout(seconds):
            while not ready(await asyncio.to_thread(self._report)):  # noqa: ASYNC110 - it can't call back
                await asyncio.sleep(0.05)

    def _report(self) -> str:
        try:
            return self.get("/readyz?verbose")
        except OSError as error:
            return str(error)


def all_ready(report: str) -> bool:
    """Both workers say so."""
    return report.count("[+] worker") == 2


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    """Two of them, ready."""
    first, admin = consecutive(), free_address()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(POLICY)
    file = tmp_path / "extauthz.yaml"
    file.write_text(CONFIG.format(workers=2, check=first[0], admin=admin))
    command = [sys.executable, "-m", "extauthz", "serve", "--config", str(file)]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.to_thread(subprocess.Popen, command, stderr=log, cwd=PROJECT)
        made = Workers(process, first, admin)
        try:
            await made.until(all_ready, seconds=30)  # three processes start
            yield made
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)


def consecutive() -> tuple[str, str]:
    """Two free addresses, one after the other, as two workers need them."""
    while True:
        host, _, port = free_address().rpartition(":")
        following = f"{host}:{int(port) + 1}"
        if free_address(int(port) + 1) == following:
            return f"{host}:{port}", following


@asynccontextmanager
async def load(envoy: EnvoyProcess, answers: "Counter[tuple[str, int]]", senders: int = 8) -> AsyncIterator[None]:
    """GET, which is allowed, and POST, which is not, by some senders at once, until left."""
    over = asyncio.Event()

    async def send(client: Any) -> None:
        while not over.is_set():
            for method in ("GET", "POST"):
                answer = await client.request(method, f"http://{envoy.options.listen}/x")
                answers[method, answer.status_code] += 1

    async with httpx2.AsyncClient(timeout=10) as client:
        sending = [asyncio.create_task(send(client)) for _ in range(senders)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*sending)


async def test_envoy_spreads_its_requests_over_all_workers(workers: Workers, start_envoy: StartEnvoy) -> None:
    """Each answers at least 35 % of them, over the few connections that Envoy opens."""
    answers: Counter[tuple[str, int]] = Counter()
    async with start_envoy(*workers.checks) as envoy:
        async with load(envoy, answers):
            await asyncio.sleep(1.5)
        total = sum(answers.values())
        counted = await workers.figure('extauthz_check_total{reason="allowed",result="allow"}')
        shares = [await workers.figure(f'extauthz_worker_check_total{{worker="{number}"}}') for number in range(2)]
    assert set(answers) == {("GET", 200), ("POST", 403)}
    assert counted == answers["GET", 200]
    assert sum(shares) == total
    assert min(shares) >= 0.35 * total


async def test_a_worker_that_is_killed_comes_back_and_nobody_passes_who_should_not(
    workers: Workers, start_envoy: StartEnvoy
) -> None:
    """The other one goes on meanwhile; what was counted stays counted."""
    answers: Counter[tuple[str, int]] = Counter()
    health = timedelta(milliseconds=200)
    async with start_envoy(*workers.checks, authz_health=health) as envoy, load(envoy, answers):
        await asyncio.sleep(0.5)
        before = await workers.figure('extauthz_check_total{reason="allowed",result="allow"}')
        os.kill(workers.pids[1], signal.SIGKILL)
        await workers.until(lambda report: "started again 1 times" in report and all_ready(report), 5)
        await asyncio.sleep(0.5)
    assert await workers.figure('extauthz_check_total{reason="allowed",result="allow"}') >= before
    assert ("POST", 200) not in answers
    assert answers["GET", 200] / (sum(answers.values()) / 2) > 0.95
    assert await workers.figure("extauthz_worker_restarts_total") == 1


async def test_workers_are_started_anew_in_turn_without_losing_a_request(
    workers: Workers, start_envoy: StartEnvoy
) -> None:
    """SIGHUP, under load: each drains before it goes, and the next one waits for it to be back."""
    answers: Counter[tuple[str, int]] = Counter()
    before = workers.pids
    health = timedelta(milliseconds=200)
    async with start_envoy(*workers.checks, authz_health=health) as envoy, load(envoy, answers):
        await asyncio.sleep(0.5)
        workers.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while set(workers.pids.values()) & set(before.values()) or len(workers.pids) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await workers.until(all_ready)
        await asyncio.sleep(0.5)
    assert set(answers) == {("GET", 200), ("POST", 403)}


async def test_workers_do_not_outlive_their_supervisor(workers: Workers) -> None:
    """Whatever ended it."""
    pids = workers.pids
    assert sorted(pids) == [0, 1]
    workers.process.kill()
    async with asyncio.timeout(10):
        while any(_alive(pid) for pid in pids.values()):  # noqa: ASYNC110 - they are nobody's children now
            await asyncio.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_keeps_all_workers_from_starting_is_told_once(tmp_path: Path) -> None:
    """With the exit code of a server that is alone."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text("kind: AuthPolicy")
    file = tmp_path / "extauthz.yaml"
    file.write_text(CONFIG.format(workers=3, check=free_address(), admin=free_address()))
    command = [sys.executable, "-m", "extauthz", "serve", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=PROJECT, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("'apiVersion' is required") == 1
