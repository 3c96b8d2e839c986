"""What the load generator sends, as a server meets it."""

import asyncio
import time
from itertools import pairwise

import pytest

from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.health import Health
from extauthz.serving.listener import Listener, parse_address
from extauthz.serving.native_server import NativeServer
from extauthz.serving.transport import CHECK_METHOD, Call
from extauthz.workbench.load import Load, h2load


@pytest.mark.system("h2load")
async def test_connections_take_turns() -> None:
    """With a rate: requests that all come at one moment would measure how long all of them take."""
    arrivals: list[float] = []

    def handle(message: bytes, call: Call) -> bytes:
        arrivals.append(time.monotonic())
        return b"ok"

    listener = Listener(parse_address("127.0.0.1:0"))
    server = NativeServer(listener, handle, b"denied", Health(), options=GrpcOptions(100_000))
    address = str(server.bind("listen.check"))
    await server.start()
    load = Load(240, connections=8, rate=400)
    measure = await asyncio.to_thread(h2load, address, CHECK_METHOD, load, message=b"x")
    await server.stop(0)
    assert (measure.done, measure.failed) == (240, 0)
    assert 300 < measure.per_second < 500
    alone = sum(later - earlier > 0.0005 for earlier, later in pairwise(arrivals))
    assert alone > len(arrivals) / 4  # together, all but one of eight would follow at once
