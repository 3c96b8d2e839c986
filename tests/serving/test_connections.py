"""Connections: pings like Envoy's keepalive, and the age of connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.transport import Call

Begin = Callable[..., Awaitable[str]]
Connect = Callable[..., Any]
Ask = Callable[..., Awaitable[bytes]]

SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1
NO_ERROR, ENHANCE_YOUR_CALM = 0, 11


def echo(message: bytes, call: Call) -> bytes:
    return b"ok"


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A frame of RFC 9113 section 4.1 on stream 0."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload


@asynccontextmanager
async def http2(target: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare HTTP/2 connection, which can ping as it likes; gRPC's own client holds itself back."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        yield reader, writer
    finally:
        writer.close()


async def goaway(reader: asyncio.StreamReader, seconds: float) -> int | None:
    """The error code of the first GOAWAY that comes within some seconds."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == GOAWAY:
                    return int.from_bytes(payload[4:8], "big")
    except (TimeoutError, asyncio.IncompleteReadError):
        return None


async def _after_pings(target: str, interval: float) -> int | None:
    async with http2(target) as (reader, writer):
        ended = asyncio.create_task(goaway(reader, 0.4))
        for _ in range(6):
            writer.write(frame(PING, b"envoy..."))
            await asyncio.sleep(interval)
        return await ended


async def test_pings_are_tolerated_down_to_the_interval(serve_check: Begin) -> None:
    """A connection without calls may ping at the interval for ever."""
    assert await _after_pings(await serve_check(echo, options=GrpcOptions(min_ping_interval=0.03)), 0.05) is None


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_a_connection_that_pings_faster_is_ended(serve_check: Begin) -> None:
    """By the grpcio transport; the native one answers pings outside the interpreter, and counts none."""
    assert await _after_pings(await serve_check(echo), 0.05) == ENHANCE_YOUR_CALM


async def test_long_metadata_is_no_rpc_error(serve_check: Begin, connect: Connect, ask: Ask) -> None:
    """I2: a client whose words end in the metadata (``tracestate``) can't make a Check fail with them."""
    channel = connect(await serve_check(echo))
    assert await ask(channel, metadata=(("tracestate", "x" * 61_440),)) == b"ok"


def test_the_default_options_suit_envoy() -> None:
    """By default pings are fine every 5 seconds, also without calls; a port is not shared."""
    arguments = dict(GrpcOptions().arguments())
    assert arguments["grpc.http2.min_ping_interval_without_data_ms"] == 5000
    assert arguments["grpc.keepalive_permit_without_calls"] == 1
    assert arguments["grpc.so_reuseport"] == 0


def test_grpc_knows_each_option() -> None:
    """Each option's name stands in gRPC's library: a misspelt one would be ignored in silence."""
    library = Path(cygrpc.__file__).read_bytes()
    assert [name for name, _ in GrpcOptions().arguments() if name.encode() + b"\0" not in library] == []


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_connections_end_at_their_age_without_losing_a_call(
    serve_check: Begin, connect: Callable[..., Any], ask: Callable[..., Awaitable[bytes]]
) -> None:
    """A connection that reached its age is told to go, and traffic goes on over the next one, call by call."""
    target = await serve_check(echo, options=GrpcOptions(max_connection_age=0.2, max_connection_age_grace=1))
    channel = connect(target)
    async with http2(target) as (reader, _):
        ended = asyncio.create_task(goaway(reader, 3))
        answers = []
        for _ in range(100):
            answers.append(await ask(channel))
            await asyncio.sleep(0.005)
        assert await ended == NO_ERROR
    assert answers == [b"ok"] * 100


async def test_a_connection_that_never_speaks_holds_up_no_other(
    serve_check: Begin, connect: Callable[..., Any], ask: Callable[..., Awaitable[bytes]]
) -> None:
    """Clients that connect and send nothing, or half a preface, leave the server answering."""
    target = await serve_check(echo)
    host, _, port = target.rpartition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
    for _, writer in silent[::2]:
        writer.write(b"PRI * HT")
    assert await ask(connect(target)) == b"ok"
    for _, writer in silent:
        writer.close()


async def test_streams_over_the_limit_wait_their_turn(
    serve_check: Begin, connect: Callable[..., Any], ask: Callable[..., Awaitable[bytes]]
) -> None:
    """More calls at a time than a connection may have are queued by the client, and none fails.

    It takes many: the server counts a stream a little longer than the client does.
    """
    running = most = 0

    async def work(message: bytes, call: Call) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return b"ok"

    channel = connect(await serve_check(work, options=GrpcOptions(max_concurrent_streams=50)))
    await ask(channel)
    assert await asyncio.gather(*(ask(channel) for _ in range(300))) == [b"ok"] * 300
    assert 1 < most <= 50


async def test_the_default_limit_of_streams_is_told(serve_check: Begin, transport: str) -> None:
    """The server's SETTINGS name the limit, so that Envoy opens another connection instead of failing."""
    async with http2(await serve_check(echo)) as (reader, _):
        head = await reader.readexactly(9)
        assert head[3] == SETTINGS
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    settings = {
        int.from_bytes(payload[at : at + 2], "big"): int.from_bytes(payload[at + 2 : at + 6], "big")
        for at in range(0, len(payload), 6)
    }
    assert settings[3] == {"native": 64, "grpcio": 16}[transport]
