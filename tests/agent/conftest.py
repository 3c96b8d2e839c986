"""A small real token service on loopback, whose behaviour a test chooses, and agents as processes beside it."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.agent.nursery import Child, Nursery
from tests.conftest import PROJECT

SECRET = "canary-secret-0123456789abcdef"


def jwt(name: str, lifetime: float, *, age: float = 0.0) -> str:
    """A token of the form that the service gives; nobody has signed it."""
    issued = int(time.time() - age)
    parts = [{"alg": "ES256", "typ": "at+jwt"}, {"sub": name, "iat": issued, "exp": issued + int(lifetime)}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


@dataclass
class Asked:
    """One request to the service."""

    path: str
    headers: dict[str, str]
    form: dict[str, str]
    json: Any


@dataclass
class TokenService:
    """Answers as it is told to."""

    lifetime: float = 300.0
    status: int = 200
    body: bytes | None = None
    """None: a token."""
    delay: float = 0.0
    outages: int = 0
    """How many of the next questions are answered with 503."""
    rotates: bool = False
    grace: float = 10.0
    hold: threading.Event | None = None
    """Answers wait for it, after what was asked has been done."""
    asked: list[Asked] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    families: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Used refresh tokens: when, and what came after each."""
    reused: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        time.sleep(self.delay)
        if self.outages:
            self.outages -= 1
            return 503, b""
        if self.body is not None or self.status != 200:
            return self.status, self.body if self.body is not None else b'{"error":"temporarily_unavailable"}'
        told: dict[str, Any] = {"token_type": "Bearer", "expires_in": self.lifetime}
        if self.rotates:
            shown = asked.form["refresh_token"]
            used = self.families.get(shown)
            if used is not None and time.monotonic() - used[0] > self.grace:
                self.reused.append(shown)
                return 400, b'{"error":"invalid_grant"}'
            successor = used[1] if used else f"refresh-{len(self.families) + 1}"
            self.families.setdefault(shown, (time.monotonic(), successor))
            told["refresh_token"] = successor
        self.given.append(jwt(f"number-{len(self.given)}", max(self.lifetime, 1)))
        told["token" if asked.path == "/refresh" else "access_token"] = self.given[-1]
        if self.hold is not None:
            self.hold.wait(10)
        return 200, json.dumps(told).encode()


@pytest.fixture
def service() -> Iterator[TokenService]:
    told = TokenService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            form = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
            value = json.loads(raw) if raw.startswith(b"{") else None
            headers = {name.lower(): text for name, text in self.headers.items()}
            status, body = told.answer(Asked(self.path, headers, form, value))
            with suppress(OSError):  # whoever asked may have gone
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield told
    if told.hold is not None:
        told.hold.set()
    server.shutdown()
    server.server_close()


@dataclass
class Agent:
    """An agent in a process of its own."""

    process: Child | subprocess.Popen[bytes]
    log: Path

    def ended(self, timeout: float = 15) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def lines(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self.log.read_text().rpartition("\n")[0].splitlines() if line.startswith("{")
        ]

    def page(self, name: str) -> str:
        """The address of one of its pages, once it is open."""
        return str(until(lambda: next((x["address"] for x in self.lines() if x.get("page") == name), None)))


def ask(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """A page of an agent."""
    connection: Any
    if address.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(address.removeprefix("unix:"))
    else:
        connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def content(file: Path) -> str:
    """What a file holds; empty without one."""
    return file.read_text() if file.exists() else ""


def until(found: Callable[[], Any], timeout: float = 20) -> Any:
    """What something gives as soon as it gives something."""
    end = time.monotonic() + timeout
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
    return value


StartAgent = Callable[..., Agent]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture
def start(service: TokenService, nursery: Nursery, tmp_path: Path) -> Iterator[StartAgent]:
    """Start an agent; without a grant, for client credentials. All are ended at the end.

    `bare`: with these words and no others; `whole`: as a program of its own, as people start it.
    """
    (tmp_path / "secret").write_text(SECRET + "\n")
    agents: list[Agent] = []
    counts = iter(range(100))

    def start_agent(
        *more: str, client: bool = True, bare: bool = False, whole: bool = False, **variables: str
    ) -> Agent:
        log = tmp_path / f"agent-{next(counts)}.log"
        log.touch()
        argv = ["agent"]
        if not bare:
            argv += ["--service", service.url, "--allow-http"]
        if client and not bare:
            argv += ["--client-id", "billing", "--client-secret-file", str(tmp_path / "secret")]
        if not bare and "--once" not in more:
            argv += ["--admin", "127.0.0.1:0"]
        argv += more
        environ = {name: value for name, value in os.environ.items() if not name.startswith("EXTAUTHZ_")} | variables
        process: Child | subprocess.Popen[bytes]
        if whole:
            with log.open("wb") as opened:
                command = [sys.executable, "-m", "extauthz", *argv]
                process = subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=opened, stderr=subprocess.STDOUT)
        else:
            process = nursery.start(argv, environ, log)
        agents.append(Agent(process, log))
        return agents[-1]

    yield start_agent
    for agent in agents:
        agent.process.kill()
        agent.process.wait(10)
        # Whatever else a test looks at: no agent has ever said a secret.
        text = agent.log.read_text()
        for hidden in (SECRET, *service.given, *service.families, "refresh-"):
            assert hidden not in text
