"""Sinks and collectors that are slow, full or stopped, under a whole ``extauthz serve``: decisions don't notice."""

import asyncio
import json
import os
import re
import resource
import signal
import statistics
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt

from extauthz.model import AttributeContext, HttpAttributes, Peer
from extauthz.serving import CHECK_METHOD
from extauthz.wire import Answer, encode_check, read_answer
from mesh.address import free_address
from mesh.processes import Process, accepts, answers
from mesh.proxy import PROJECT

CONFIG = """
listen: {{check: {{address: "unix:{folder}/check.sock"}}, admin: {{address: "{admin}"}}}}
check: {{deadline: 2s, drainDelay: 0s, grace: 1s}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders], secretFile: secret, algorithms: [HS256]}}
  roles: {{mayGrant: [user]}}
policies: {{files: [policy.yaml]}}
telemetry:
  {telemetry}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules: [{name: users, role: user, to: [{methods: [GET]}]}]
"""
COLLECTOR = """
import signal, sys
from mesh.collector import Collector
with Collector(sys.argv[1]):
    signal.pause()
"""
SAMPLED = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-611ec7590ab59ae3-01"),)


@dataclass
class Served:
    """A running server."""

    process: Process
    admin: str
    check: str
    token: str

    def figure(self, name: str) -> float:
        """The sum of all series of a metric."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE))

    def report(self, expected: str) -> str:
        """What readiness tells, once it tells this."""
        end = time.monotonic() + 10
        while True:
            with urllib.request.urlopen(f"http://{self.admin}/readyz?verbose", timeout=10) as answer:
                told = str(answer.read().decode())
            if expected in told or time.monotonic() > end:
                return told
            time.sleep(0.05)

    def until(self, name: str, least: float) -> None:
        """Wait until a metric has come so far."""
        end = time.monotonic() + 20
        while self.figure(name) < least:
            assert time.monotonic() < end, f"{name} is {self.figure(name)}"
            time.sleep(0.05)

    async def ask(self, count: int, *, at_a_time: int = 8, size: int = 10) -> tuple[list[Answer], list[float]]:
        """So many Checks with a header of this size, and what each took, in seconds."""
        headers = {"authorization": (f"Bearer {self.token}",), "x-large": ("x" * size,)}
        http = HttpAttributes("1", "GET", "/orders", "orders.example.com", "https", "HTTP/2", headers)
        message = encode_check(AttributeContext(Peer("192.0.2.1", 1), Peer("192.0.2.2", 443), time.time(), http))
        found: list[Answer] = []
        seconds: list[float] = []
        left = iter(range(count))

        async with grpc.aio.insecure_channel(self.check) as channel:
            call: Any = channel.unary_unary(CHECK_METHOD)

            async def some() -> None:
                for _ in left:
                    began = time.perf_counter()
                    answer = await call(message, timeout=10, metadata=SAMPLED)
                    seconds.append(time.perf_counter() - began)
                    found.append(read_answer(answer))

            await asyncio.gather(*(some() for _ in range(at_a_time)))
        return found, seconds


@contextmanager
def serving(folder: Path, telemetry: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server with this section ``telemetry``."""
    admin, secret = free_address(), os.urandom(40)
    (folder / "extauthz.yaml").write_text(CONFIG.format(folder=folder, admin=admin, telemetry=telemetry))
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "secret").write_bytes(secret)
    claims = {"iss": "https://login.example.com/", "aud": "orders", "sub": "alice", "roles": ["user"]}
    token = jwt.encode(claims | {"exp": int(time.time()) + 600}, secret, algorithm="HS256")
    process = Process(
        "extauthz",
        [sys.executable, "-m", "extauthz", "serve", "--config", "extauthz.yaml"],
        log=folder / "serve.log",
        ready=[answers(f"http://{admin}/readyz")],
        environment=environment,
        directory=folder,
    )
    with process:
        yield Served(process, admin, f"unix:{folder}/check.sock", token)


def results(found: list[Answer]) -> Counter[int]:
    """How many answers there were of each HTTP status; 0 is an allow."""
    return Counter(answer.status for answer in found)


def test_a_collector_that_stops_answering(tmp_path: Path) -> None:
    """Spans and records are dropped and counted, Checks are as fast as before; when it goes on, spans arrive again."""
    where = free_address()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{where}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_MAX_QUEUE_SIZE": "64",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16",
    }
    command = [sys.executable, "-c", COLLECTOR, where]
    log = tmp_path / "collector.log"
    collector = Process("collector", command, log=log, ready=[accepts(where)], directory=PROJECT)
    telemetry = "{traces: {exporter: otlp}, decisions: {sink: otlp}}"
    with collector, serving(tmp_path, telemetry, environment) as served:
        found, before = asyncio.run(served.ask(50))
        assert results(found) == {0: 50}
        served.until("extauthz_spans_exported_total", 1)
        collector.signal(signal.SIGSTOP)
        try:
            found, stopped = asyncio.run(served.ask(500))
            assert results(found) == {0: 500}
            assert statistics.median(stopped) < 10 * statistics.median(before) + 0.05
            served.until("extauthz_spans_dropped_total", 300)
            served.until("extauthz_decision_log_dropped_total", 1)
        finally:
            collector.signal(signal.SIGCONT)
        exported = served.figure("extauthz_spans_exported_total")
        end = time.monotonic() + 20
        while served.figure("extauthz_spans_exported_total") <= exported:
            assert time.monotonic() < end, "no span arrives any more"
            assert results(asyncio.run(served.ask(5))[0]) == {0: 5}
        collector.signal(signal.SIGSTOP)
        try:
            assert results(asyncio.run(served.ask(100))[0]) == {0: 100}
            began = time.monotonic()
            assert served.process.stop() == 0
            assert time.monotonic() - began < 10
        finally:
            collector.signal(signal.SIGCONT)


def full(served: Served, size: int) -> None:
    """Let the server's files grow to this size only: beyond it a write fails as on a full disk."""
    _, hard = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def records(file: Path) -> list[dict[str, object]]:
    """The whole lines of a decision log; what a full disk cut short is none."""
    found = []
    for line in file.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def test_a_full_disk_costs_records_and_nothing_else(tmp_path: Path) -> None:
    """X4: each record is either there or counted, and Checks are as fast as before."""
    file = tmp_path / "decisions.jsonl"
    with serving(tmp_path, f"decisions: {{sink: {file}}}") as served:
        found, before = asyncio.run(served.ask(100))
        full(served, 20_000)
        during, while_full = asyncio.run(served.ask(500))
        served.until("extauthz_decision_log_dropped_total", 1)
        assert "[-] decision log: [Errno 27] File too large, for " in served.report("[-] decision log")
        full(served, resource.RLIM_INFINITY)
        after, _ = asyncio.run(served.ask(100))
        assert results(found + during + after) == {0: 700}
        assert "[+] decision log: written" in served.report("[+] decision log")
        assert statistics.median(while_full) < 10 * statistics.median(before) + 0.05
        time.sleep(0.6)
        dropped = served.figure("extauthz_decision_log_dropped_total")
        assert served.process.stop() == 0
    written = records(file)
    assert len(written) + dropped == 700
    assert len({record["id"] for record in written}) == len(written)
    assert "decision records were lost" in (tmp_path / "serve.log").read_text()


def test_nothing_is_allowed_without_a_record(tmp_path: Path) -> None:
    """X4: with whenFull: wait a full disk holds Checks up, then denies them; with room again it goes on, and no allow is missing."""
    file = tmp_path / "decisions.jsonl"
    telemetry = f"decisions: {{sink: {file}, capture: true, whenFull: wait}}"
    with serving(tmp_path, telemetry) as served:
        full(served, 100_000)
        # Each record has about 14 kB, so that 8 MiB of them are full after some hundreds.
        found, _ = asyncio.run(served.ask(640, at_a_time=60, size=14_000))
        denied = results(found)[503]
        assert 20 < denied < 630
        assert results(found) == {0: 640 - denied, 503: denied}
        assert served.figure("extauthz_decision_log_waits_total") >= denied
        with urllib.request.urlopen(f"http://{served.admin}/livez", timeout=5) as answer:
            assert answer.status == 200  # the event loop is held up by none of those that wait
        held = asyncio.run(_held(served))
        assert results(held) == {0: 20}
        dropped = served.figure("extauthz_decision_log_dropped_total")
        assert 0 < dropped <= denied
        assert served.process.stop() == 0
    written = Counter((record["decision"], record["reason"]) for record in records(file))
    assert written["allow", "allowed"] == 640 - denied + 20
    assert written["deny", "overloaded"] == denied - dropped


async def _held(served: Served) -> list[Answer]:
    """Checks that come while the disk is full, and wait until it is not."""
    asking = asyncio.create_task(served.ask(20, at_a_time=20))
    await asyncio.sleep(0.5)
    assert not asking.done()
    full(served, resource.RLIM_INFINITY)
    return (await asking)[0]
