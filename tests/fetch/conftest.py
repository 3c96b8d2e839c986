"""A server on loopback that answers exactly the bytes that a test wants, over TLS or not."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from extauthz.fetch import HttpFetcher

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Settings:
    """How a URL may be reached; what the tests of this room use in place of identity's value."""

    ca_file: str | None = None
    token_file: str | None = None
    allow_private_addresses: bool = True
    allow_http: bool = True


@dataclass
class Server:
    """What it answers by path, and what it was asked."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    hangups: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            # A form that is not read would have the connection reset, and the answer lost.
            length = re.search(r"\r\ncontent-length: ([0-9]+)\r\n", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            answer = self.answers.get(head.split(" ")[1], http(404, b"{}"))
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            self.hangups += 1
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def http(status: int, body: bytes, *headers: str) -> bytes:
    """A plain HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A plain HTTP server."""
    subject = Server()
    listener = await asyncio.start_server(subject.handle, "127.0.0.1", 0)
    subject.port = listener.sockets[0].getsockname()[1]
    yield subject
    listener.close()


@dataclass(frozen=True)
class Authority:
    """A certificate authority and where its certificate is."""

    ca: trustme.CA
    file: str


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, str(path))


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[Server]:
    """An HTTPS server whose certificate is for keys.example.com and 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.ca.issue_cert("keys.example.com", "127.0.0.1").configure_cert(context)
    subject = Server()
    listener = await asyncio.start_server(subject.handle, "127.0.0.1", 0, ssl=context)
    subject.port = listener.sockets[0].getsockname()[1]
    yield subject
    listener.close()


@pytest.fixture
def fetcher() -> HttpFetcher:
    return HttpFetcher(deadline=2.0)
