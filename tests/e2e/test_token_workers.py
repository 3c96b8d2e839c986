"""Several workers with one token service: one socket for all of them, and what one revokes the others refuse.

Checks go to each worker by itself, as Envoy would send them, and requests for tokens to whichever takes the connection.
"""

import base64
import json
import os
import signal
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving.transport import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.e2e.test_workers import consecutive
from tests.journey import check_request

SECRET = "0123456789abcdef0123456789abcdef01234567"
BOUND = 1.0
"""Seconds within which a revocation is in force in every process."""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec: {rules: [{role: user}]}
"""


@dataclass(frozen=True)
class Workers:
    """A supervisor with two workers."""

    checks: tuple[str, str]
    issuer: str
    admin: str
    process: Process

    def post(self, path: str, **form: str) -> dict[str, Any]:
        """What the token service answers, over a connection of its own."""
        basic = base64.b64encode(f"shop:{SECRET}".encode()).decode()
        request = urllib.request.Request(
            self.issuer + path,
            urllib.parse.urlencode(form).encode(),
            {"authorization": f"Basic {basic}", "connection": "close"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found

    def token(self) -> str:
        """A new one."""
        return str(self.post("/oauth2/token", grant_type="client_credentials")["access_token"])

    def check(self, worker: int, token: str) -> int:
        """The gRPC code that a worker answers to a request with a token."""
        with grpc.insecure_channel(self.checks[worker]) as channel:
            ask: Any = channel.unary_unary(CHECK_METHOD)
            answer = ask(check_request(headers={"authorization": f"Bearer {token}"}), timeout=10)
            return int(CheckResponse.FromString(answer).status.code)

    def report(self) -> str:
        """How all of them are."""
        with urllib.request.urlopen(f"http://{self.admin}/readyz?verbose", timeout=5) as answer:
            return str(answer.read().decode())

    def until(self, words: str, times: int) -> None:
        """Wait until the report has some words so many times."""
        end = time.monotonic() + 30
        while self.report().count(words) < times:
            assert time.monotonic() < end, self.report()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("workers")
    checks = consecutive()
    http, admin = free_addresses(0, 0)
    issuer = f"http://{http}"
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "policies").mkdir()
    (folder / "policies" / "users.yaml").write_text(POLICY)
    config = {
        "workers": 2,
        "listen": {"check": {"address": checks[0]}, "http": {"address": http}, "admin": {"address": admin}},
        "check": {"drainDelay": "300ms", "grace": "2s", "deadline": "5s"},
        "limits": {"perProcess": True},
        "store": {"url": "sqlite:state.db"},
        "providers": [{"name": "own", "jwt": {"issuer": issuer, "audiences": ["orders"]}}],
        "tokens": {
            "issuer": issuer,
            "audiences": ["orders"],
            "rates": {"perClient": 100_000},
            "clients": [{"id": "shop", "secretFile": "secret", "roles": ["user"]}],
        },
    }
    (folder / "extauthz.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "extauthz", "serve"]
    ready = [answers(f"http://{admin}/readyz")]
    with Process("extauthz", command, log=folder / "log", ready=ready, ready_within=60, directory=folder) as process:
        started = Workers(checks, issuer, admin, process)
        started.until("[+] revocations", 2)
        yield started


@pytest.mark.timeout(180)
def test_what_one_worker_revokes_the_other_refuses_in_time(workers: Workers) -> None:
    """I8, O32: although both have the token in their caches, and a restart forgets nothing (O31)."""
    token, other = workers.token(), workers.token()
    assert [workers.check(worker, one) for worker in (0, 1) for one in (token, token, other)] == [0] * 6
    workers.post("/oauth2/revoke", token=token)
    revoked = time.monotonic()
    codes = [0, 0]
    while codes != [16, 16]:
        taken = time.monotonic() - revoked
        codes = [workers.check(worker, token) for worker in (0, 1)]
    assert taken < 2 * BOUND, "twice the bound, for a busy machine"
    assert [workers.check(worker, other) for worker in (0, 1)] == [0, 0]


@pytest.mark.timeout(180)
def test_workers_that_are_started_anew_lose_no_request_for_a_token(workers: Workers) -> None:
    """SIGHUP: the socket stays open in the supervisor, and connections in its queue are taken by who is there."""
    token = workers.token()
    workers.post("/oauth2/revoke", token=token)
    pid = workers.process.pid
    before = children(pid)
    os.kill(pid, signal.SIGHUP)
    count, end = 0, time.monotonic() + 90
    while children(pid) & before or len(children(pid)) < 2:
        workers.token()
        count += 1
        assert time.monotonic() < end
    assert count > 5
    workers.until("[+] revocations", 2)
    assert [workers.check(worker, token) for worker in (0, 1)] == [16, 16]


def children(pid: int) -> set[int]:
    """The processes that a process has started."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.add(int(folder.name))
    return found
