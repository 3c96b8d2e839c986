"""Who waits for the next call of the native transport: the event loop while calls come close together, else a thread."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from pygrpc_native import NativeGrpcFront

from extauthz.serving import native_server
from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.health import Health
from extauthz.serving.listener import Listener, parse_address
from extauthz.serving.native_server import NativeServer
from extauthz.serving.transport import CHECK_METHOD, Call


class Watched:
    """The real front, which notes how long the event loop would wait for calls."""

    patience: list[int]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._front = NativeGrpcFront(*arguments, **named)

    def recv_batch_details(self, most: int, *timeout: int) -> Any:
        self.patience += timeout  # the thread waits without end, and gives none
        return self._front.recv_batch_details(most, *timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._front, name)


class Served:
    """A server, and a client in other threads, as the event loop is what is looked at."""

    def __init__(self, target: str, patience: list[int], release: asyncio.Event) -> None:
        self.release = release
        """Ends the Check that waits."""
        self._channel = grpc.insecure_channel(target)
        self._call: Any = self._channel.unary_unary(CHECK_METHOD)
        self._patience = patience

    async def asked(self, messages: list[bytes]) -> list[int]:
        """Send these at once; how long the event loop was ready to wait after each batch of them."""
        self._patience.clear()
        calls = [self._call.future(message, timeout=10) for message in messages]
        await asyncio.to_thread(lambda: [call.result() for call in calls])
        await asyncio.sleep(0.05)
        return list(self._patience)

    async def waited_for(self) -> bool:
        """Whether the event loop waits for calls that come close together; on a busy machine not all of them do."""
        for _ in range(20):
            if 1 in await self.asked([b"a"] * 500):
                return True
        return False

    def begin(self, message: bytes) -> Any:
        """Send one, and go on."""
        return self._call.future(message, timeout=10)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server with the native transport."""
    release = asyncio.Event()

    async def later() -> bytes:
        await release.wait()
        return b"later"

    def handle(message: bytes, call: Call) -> Any:
        return later() if message == b"wait" else b"now"

    monkeypatch.setattr(native_server, "NativeGrpcFront", Watched)
    Watched.patience = []
    listener = Listener(parse_address("127.0.0.1:0"))
    server = NativeServer(listener, handle, b"denied", Health(), options=GrpcOptions(100_000))
    target = str(server.bind("listen.check"))
    await server.start()
    client = Served(target, Watched.patience, release)
    await client.asked([b"first"])
    yield client
    client.close()
    await server.stop(0)


async def test_calls_that_come_one_by_one_are_left_to_the_thread(served: Served) -> None:
    """Whoever waits in the event loop for a call that won't come keeps all else waiting, and pays twice."""
    for _ in range(3):
        assert set(await served.asked([b"a"])) == {0}


async def test_calls_that_come_close_together_are_waited_for(served: Served) -> None:
    """For a moment: handing over to the thread and back would cost as much as the call."""
    assert await served.waited_for()


async def test_nobody_waits_while_a_check_waits_for_something(served: Served) -> None:
    """Its answer may come any time, and through the event loop."""
    waiting = served.begin(b"wait")
    await asyncio.sleep(0.05)
    assert set(await served.asked([b"a"] * 500)) == {0}
    served.release.set()
    assert await asyncio.to_thread(waiting.result) == b"later"
    assert await served.waited_for()
