"""An introspection endpoint over real HTTP, and a provider that asks it.

The server is made of streams, so that a test says each byte of an answer; it notes everything that it was asked.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from extauthz.fetch import HttpFetcher
from extauthz.identity import Authenticator, ClientSecret, FetchSettings, IntrospectionProvider, Wait
from tests.identity.issuer import NOW, Outcome, bearer

OPEN = FetchSettings(allow_private_addresses=True, allow_http=True)
SECRET = "s3cret-of-the-client"

Bytes = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Question:
    """One request as it arrived."""

    start: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


def http(status: int, body: bytes, content_type: str = "application/json", *headers: str) -> bytes:
    """A plain HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "connection: close"]).encode() + b"\r\n\r\n" + body


def answer(**members: Any) -> bytes:
    """What is said of an active token; members that are None are left out."""
    told: dict[str, Any] = {"active": True, "sub": "alice", "aud": "orders", "exp": NOW + 300, "roles": ["user"]}
    told |= members
    return http(200, json.dumps({name: value for name, value in told.items() if value is not None}).encode())


INACTIVE = http(200, b'{"active":false}')


@dataclass
class Endpoint:
    """What it answers by token, and what it was asked."""

    answers: dict[str, Bytes] = field(default_factory=dict)
    otherwise: Bytes = INACTIVE
    questions: list[Question] = field(default_factory=list)
    connections: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    port: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed by ``gate.clear()``: answers wait."""

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/introspect"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await self._read(reader)
        self.questions.append(question)
        await self.gate.wait()
        said = self.answers.get(question.form.get("token", ""), self.otherwise)
        if callable(said):
            await said(writer)
        else:
            writer.write(said)
        await writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> Question:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(headers) == len(lines)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        pairs = parse_qsl(body.decode(), strict_parsing=True, keep_blank_values=True)
        assert len(dict(pairs)) == len(pairs)
        return Question(start, headers, dict(pairs))

    def tokens(self) -> list[str]:
        """The tokens that it was shown, in order."""
        return [question.form["token"] for question in self.questions]


@contextlib.asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """The endpoint, on a free port of loopback."""
    server = await asyncio.start_server(endpoint.handle, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    yield endpoint
    server.close()
    tasks = tuple(endpoint.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Time:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


def secret_file(folder: Path, text: str = SECRET + "\n") -> str:
    path = folder / "secret"
    path.write_text(text)
    return str(path)


def introspection(endpoint: Endpoint, folder: Path, /, **parts: Any) -> IntrospectionProvider:
    """The provider that asks an endpoint."""
    if "client" not in parts:
        parts["client"] = ClientSecret("me", secret_file(folder))
    plain: dict[str, Any] = {
        "name": "opaque",
        "endpoint": endpoint.url,
        "audiences": frozenset({"orders"}),
        "fetch": OPEN,
    }
    return IntrospectionProvider(**(plain | parts))


async def ask(subject: Authenticator, token: str) -> Outcome:
    """The whole way of a token: asked, waited for, asked again."""
    outcome = subject.authenticate(bearer(token))
    if not isinstance(outcome, Wait):
        return outcome
    await outcome.ready()
    outcome = subject.authenticate(bearer(token), waited=True)
    assert not isinstance(outcome, Wait)
    return outcome


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that another task does."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen within 5 s"
        await asyncio.sleep(0.002)


def fetcher() -> HttpFetcher:
    return HttpFetcher(deadline=2.0)
