"""Peers that mean harm: what they can make the server do, and what others notice of it.

The server runs in a process of its own, so that its CPU and memory are nobody else's. What a flood costs is compared with
what it costs to send it; the native transport ends those connections early, grpcio works them off.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import hpack
import pytest

from extauthz.serving.transport import CHECK_METHOD

DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION, UNKNOWN = 0, 1, 3, 4, 6, 9, 0x77
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = (8).to_bytes(4, "big")
CONNECTIONS = 4
GOOD = 30
"""Checks of a caller who means no harm, while the harm is done."""


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """A frame of RFC 9113 section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request_headers() -> bytes:
    """The header block of a Check, without state between requests."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", CHECK_METHOD),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    block: bytes = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)
    return block


BLOCK = request_headers()
MESSAGE = b"\0" + (100).to_bytes(4, "big") + b"x" * 100


def opened(stream: int, *, then: bytes = b"") -> bytes:
    """A request, and what follows it."""
    return frame(HEADERS, BLOCK, END_HEADERS, stream) + then


def resets() -> Iterator[bytes]:
    """Rapid reset (CVE-2023-44487): each call is taken back at once."""
    for stream in range(1, 8_000, 2):
        yield opened(stream, then=frame(RST_STREAM, CANCEL, 0, stream))


def resets_of_messages() -> Iterator[bytes]:
    """The same, with a whole message in between, so that the call reaches the handler."""
    for stream in range(1, 8_000, 2):
        yield opened(stream, then=frame(DATA, MESSAGE, END_STREAM, stream) + frame(RST_STREAM, CANCEL, 0, stream))


def settings() -> Iterator[bytes]:
    """Each has to be acknowledged (CVE-2019-9515)."""
    return (frame(SETTINGS) for _ in range(20_000))


def pings() -> Iterator[bytes]:
    """Each has to be answered (CVE-2019-9512)."""
    return (frame(PING, b"12345678") for _ in range(20_000))


def headers_without_end() -> Iterator[bytes]:
    """CONTINUATION after CONTINUATION (CVE-2024-27316)."""
    yield frame(HEADERS, BLOCK, 0, 1)
    more = frame(CONTINUATION, (b"\x00\x03xab\x0a" + b"v" * 10) * 800, 0, 1)
    for _ in range(1_000):
        yield more


def unknown_frames() -> Iterator[bytes]:
    """What nobody knows is ignored (RFC 9113 section 5.5)."""
    return (frame(UNKNOWN, b"x" * 100) for _ in range(20_000))


def garbage() -> Iterator[bytes]:
    """No HTTP/2 at all."""
    for _ in range(100):
        yield os.urandom(1_000)


def calls_without_end() -> Iterator[bytes]:
    """Headers, the beginning of a message, and nothing more."""
    for stream in range(1, 2_000, 2):
        yield opened(stream, then=frame(DATA, b"\0" + (200_000).to_bytes(4, "big") + b"x" * 50, 0, stream))


@dataclass
class Server:
    """The process under attack."""

    process: Any
    target: str

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def megabytes(self) -> float:
        """The resident set."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncio.StreamWriter]:
        """A bare connection, whose answers are read and thrown away."""
        host, _, port = self.target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        reading = asyncio.create_task(self._read(reader))
        try:
            yield writer
        finally:
            reading.cancel()
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while await reader.read(65_536):
                pass


@pytest.fixture
def server(transport: str) -> Iterator[Server]:
    """One server of each transport."""
    command = [sys.executable, "-m", "tests.serving.abused_server", transport]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Server(process, process.stdout.readline().strip())
        finally:
            process.kill()


async def attack(server: Server, flood: Callable[[], Iterator[bytes]]) -> None:
    """Send a flood on some connections at once, until it is over or the server has enough."""

    async def one() -> None:
        with suppress(OSError):
            async with server.connection() as writer:
                if flood is not garbage:
                    writer.write(PREFACE + frame(SETTINGS))
                for number, piece in enumerate(flood()):
                    if writer.is_closing():
                        return
                    writer.write(piece)
                    if number % 50 == 0:
                        await asyncio.wait_for(writer.drain(), 20)
                await asyncio.wait_for(writer.drain(), 20)
                await asyncio.sleep(0.3)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def answered(server: Server, count: int = GOOD) -> int:
    """How many Checks of a good caller are answered, each before the server has had a second of CPU.

    On a machine of its own that is a second; beside others, what the server gets of it is not the server's matter.
    """
    options = [("grpc.use_local_subchannel_pool", 1)]
    good = 0
    async with grpc.aio.insecure_channel(server.target, options) as channel:
        check: Any = channel.unary_unary(CHECK_METHOD)
        for _ in range(count):
            before = server.cpu
            with suppress(grpc.aio.AioRpcError):
                good += await check(b"?", timeout=20) == b"ok" and server.cpu - before < 1
            await asyncio.sleep(0.01)
    return good


FLOODS = [
    resets,
    resets_of_messages,
    settings,
    pings,
    headers_without_end,
    unknown_frames,
    garbage,
    calls_without_end,
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
async def test_good_callers_are_answered_while_others_flood(server: Server, flood: Any) -> None:
    """And afterwards; the memory stays bounded."""
    assert await answered(server, 5) == 5
    before = server.megabytes
    good, _ = await asyncio.gather(answered(server), attack(server, flood))
    assert good >= GOOD * 0.9
    assert await answered(server, 5) == 5
    assert server.megabytes - before < 200


@pytest.mark.parametrize("transport", ["native"])
@pytest.mark.parametrize("flood", [resets, resets_of_messages, headers_without_end], ids=lambda flood: flood.__name__)
async def test_the_native_transport_leaves_a_flood_early(server: Server, flood: Any) -> None:
    """It ends the connection after a fraction of the flood, at a cost that nobody would notice."""
    await answered(server, 5)
    before = server.cpu
    await attack(server, flood)
    assert server.cpu - before < 0.3


async def test_unfinished_messages_hold_bounded_memory(server: Server) -> None:
    """A connection has a limit of calls, and what was begun is forgotten when it ends."""
    await answered(server, 5)
    before = server.megabytes
    async with asyncio.timeout(50):
        for _ in range(5):
            await attack(server, calls_without_end)
    assert server.megabytes - before < 200
    assert await answered(server, 5) == 5


async def test_nobody_can_take_all_connections(server: Server) -> None:
    """Hundreds that never speak leave room for one that does."""
    silent = [server.connection() for _ in range(300)]
    for connection in silent:
        await connection.__aenter__()
    try:
        assert await answered(server, 5) == 5
    finally:
        closing: list[Awaitable[Any]] = [connection.__aexit__(None, None, None) for connection in silent]
        await asyncio.gather(*closing)
