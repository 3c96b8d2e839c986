"""The Check RPC through a real server and client: what reaches the handler, what reaches the caller."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from extauthz.errors import ServingError
from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.health import Health
from extauthz.serving.listener import Listener, parse_address
from extauthz.serving.transport import CHECK_METHOD, Call, time_left
from extauthz.serving.transports import check_server

DENIED = b"denied by the fallback"
Begin = Callable[..., Awaitable[str]]
Connect = Callable[..., Any]
Ask = Callable[..., Coroutine[Any, Any, bytes]]


def echo(message: bytes, call: Call) -> bytes:
    return b"answer to " + message


async def test_bytes_go_in_and_out_untouched(serve_check: Begin, connect: Connect, ask: Ask) -> None:
    """The handler gets the message as it was sent, garbage and nothing included, and its answer is sent as it is."""
    channel = connect(await serve_check(echo))
    for message in (b"", b"\xff\xff\xff garbage", b"x" * 200_000):
        assert await ask(channel, message) == b"answer to " + message


async def test_an_answer_may_be_awaited(serve_check: Begin, connect: Connect, ask: Ask) -> None:
    """A handler that needs I/O gives an awaitable instead of bytes."""

    async def later(message: bytes) -> bytes:
        await asyncio.sleep(0.01)
        return message[::-1]

    channel = connect(await serve_check(lambda message, call: later(message)))
    assert await ask(channel, b"abc") == b"cba"


async def test_the_handler_sees_metadata_and_the_time_left(serve_check: Begin, connect: Connect, ask: Ask) -> None:
    """Metadata come in order with binary values as bytes; a caller without deadline has no time left to count."""
    calls: list[Call] = []

    def note(message: bytes, call: Call) -> bytes:
        calls.append(call)
        return b"ok"

    channel = connect(await serve_check(note))
    sent = (("traceparent", "00-1-2-01"), ("x-twice", "a"), ("x-twice", "b"), ("x-bin", b"\x00\xff"))
    await ask(channel, timeout=2, metadata=sent)
    await ask(channel, timeout=None)
    assert [tuple(pair) for pair in calls[0].metadata if pair[0] != "user-agent"] == list(sent)
    assert calls[0].time_remaining is not None
    assert 1 < calls[0].time_remaining < 2.1  # the deadline travels rounded up
    assert calls[1].time_remaining is None


@given(st.none() | st.floats(allow_nan=False))
def test_a_deadline_in_the_far_future_is_none(seconds: float | None) -> None:
    """What Envoy's `timeout: 0s` becomes in some grpc versions, 9.2e18 seconds, is no deadline; others stay."""
    left = time_left(seconds)
    assert left is None if seconds is None or seconds >= 1e9 else left == seconds


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_message_over_the_limit_is_refused_unseen(
    serve_check: Begin, connect: Connect, ask: Ask, *, compressed: bool
) -> None:
    """A message over maxMessageBytes, or one that unpacks to more, is RESOURCE_EXHAUSTED and reaches no handler."""
    calls: list[bytes] = []
    channel = connect(await serve_check(lambda message, call: calls.append(message), options=GrpcOptions(1000)))
    message = b"\0" * 100_000
    assert len(gzip.compress(message)) < 1000
    how = {"compression": grpc.Compression.Gzip} if compressed else {}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, message, **how)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert calls == []


def _raise(message: bytes, call: Call) -> bytes:
    raise RuntimeError("token eyJhbGciOi is bad")


def _give_nothing(message: bytes, call: Call) -> bytes:
    return b""


def _give_none(message: bytes, call: Call) -> Any:
    return None


async def _raise_later(message: bytes, call: Call) -> bytes:
    await asyncio.sleep(0)
    raise ExceptionGroup("token eyJhbGciOi", [ValueError("eyJhbGciOi")])


async def _give_nothing_later(message: bytes, call: Call) -> bytes:
    await asyncio.sleep(0)
    return b""


async def _await_what_is_cancelled(message: bytes, call: Call) -> bytes:
    shared = asyncio.create_task(asyncio.sleep(5))
    shared.cancel()
    await shared
    return b"never"


@pytest.mark.parametrize(
    "handler",
    [_raise, _give_nothing, _give_none, _raise_later, _give_nothing_later, _await_what_is_cancelled],
    ids=lambda handler: handler.__name__,
)
async def test_a_broken_handler_denies(serve_check: Begin, connect: Connect, ask: Ask, handler: Any) -> None:
    """Whatever a handler does, the RPC is OK and carries the denial; the log names the fault, without its text."""
    with capture_logs() as logs:
        channel = connect(await serve_check(handler))
        assert await ask(channel) == DENIED
    assert [entry["event"] for entry in logs] == ["check failed"]
    assert "eyJhbGciOi" not in str(logs)


async def test_an_empty_fallback_is_refused(transport: Any) -> None:
    """A fallback of zero bytes would be an allow, so no server can be made with one."""
    listener = Listener(parse_address("127.0.0.1:0"))
    with pytest.raises(ValueError, match="allow"):
        check_server(transport, listener, echo, b"", Health(), options=GrpcOptions())


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_caller_that_gave_up_stops_the_work(
    serve_check: Begin, connect: Connect, ask: Ask, eventually: Callable[..., Awaitable[None]], how: str
) -> None:
    """The awaited part of a decision is cancelled when its call is, and when the call's deadline passes."""
    seen: list[str] = []

    async def work(message: bytes, call: Call) -> bytes:
        seen.append("began")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return b"never"

    channel = connect(await serve_check(work))
    call = channel.unary_unary(CHECK_METHOD)(b"?", timeout=0.2 if how == "deadline" else 5)
    running = asyncio.ensure_future(call)
    await eventually(lambda: seen == ["began"])
    if how == "cancel":
        call.cancel()
    await eventually(lambda: seen == ["began", "cancelled"])
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await running


async def test_other_methods_are_not_there(serve_check: Begin, connect: Connect) -> None:
    """Only Check is served; the old v2 name and reflection are UNIMPLEMENTED."""
    channel = connect(await serve_check(echo))
    names = [
        "/envoy.service.auth.v2.Authorization/Check",
        "/envoy.service.auth.v3.Authorization/check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]
    for name in names:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(name)(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_reflection_is_there_if_asked_for(serve_check: Begin, connect: Connect) -> None:
    """With reflection on, a client can list the services and get the file of each."""
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    channel = connect(await serve_check(echo, options=GrpcOptions(reflection=True)))
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest
    names = ["envoy.service.auth.v3.Authorization", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    questions = [request(list_services=""), *(request(file_containing_symbol=name) for name in names)]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(questions), timeout=5)]
    assert [service.name for service in answers[0].list_services_response.service] == names
    assert all(len(answer.file_descriptor_response.file_descriptor_proto) for answer in answers[1:])


async def test_a_port_is_never_shared(transport: Any) -> None:
    """A second server on the same port fails, and the error names the setting."""
    anywhere = Listener(parse_address("127.0.0.1:0"))
    first = check_server(transport, anywhere, echo, DENIED, Health(), options=GrpcOptions())
    bound = first.bind("listen.check")
    second = check_server(transport, Listener(bound), echo, DENIED, Health(), options=GrpcOptions())
    with pytest.raises(ServingError, match=r"listen\.check\.address: .* is in use by another process"):
        second.bind("listen.check")
    await first.stop(0)
    await second.stop(0)


async def test_checks_come_over_a_unix_socket(serve_check: Begin, connect: Connect, ask: Ask, tmp_path: Any) -> None:
    """A unix socket serves the same; a second server leaves it alone."""
    path = tmp_path / "check.sock"
    target = await serve_check(echo, address=f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(ServingError, match="another process listens"):
        await serve_check(echo, address=f"unix:{path}")
    assert await ask(connect(target), b"x") == b"answer to x"
