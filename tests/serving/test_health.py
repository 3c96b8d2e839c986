"""grpc.health.v1 as Envoy and Kubernetes ask it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.serving.health import Health
from extauthz.serving.transport import CHECK_SERVICE, Call

Begin = Callable[..., Awaitable[str]]

pb: Any = health_pb2
UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = 0, 1, 2, 3


def echo(message: bytes, call: Call) -> bytes:
    return b"ok"


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def stub(serve_check: Begin, connect: Callable[..., Any], health: Health) -> Any:
    return health_pb2_grpc.HealthStub(connect(await serve_check(echo, health=health)))


async def status(watch: Any) -> int | None:
    """The next status of a watch; None at its end."""
    answer = await watch.read()
    return None if answer is grpc.aio.EOF else answer.status


@pytest.mark.parametrize("name", ["", CHECK_SERVICE])
async def test_health_follows_what_it_is_told(stub: Any, health: Health, name: str) -> None:
    """The server and its service are NOT_SERVING at first, and then what was told last."""
    request = pb.HealthCheckRequest(service=name)
    seen = [(await stub.Check(request, timeout=5)).status]
    for serving in (True, False, True):
        health.set(serving=serving)
        seen.append((await stub.Check(request, timeout=5)).status)
    health.close()
    health.set(serving=True)
    seen.append((await stub.Check(request, timeout=5)).status)
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING, SERVING, NOT_SERVING]


async def test_other_names_are_not_found(stub: Any, health: Health) -> None:
    """A name that is not served here is NOT_FOUND, not NOT_SERVING."""
    health.set(serving=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(pb.HealthCheckRequest(service="envoy.service.auth.v2.Authorization"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_all_names_can_be_listed(stub: Any, health: Health) -> None:
    """List gives both names with their health."""
    health.set(serving=True)
    answer = await stub.List(pb.HealthListRequest(), timeout=5)
    assert {name: one.status for name, one in answer.statuses.items()} == {"": SERVING, CHECK_SERVICE: SERVING}


async def test_a_watch_tells_each_change_and_ends_with_the_server(stub: Any, health: Health) -> None:
    """A watch begins with the health as it is, tells changes alone, and ends when the server closes."""
    watch = stub.Watch(pb.HealthCheckRequest(service=CHECK_SERVICE), timeout=10)
    seen = [await status(watch)]
    for serving in (False, True, True):
        health.set(serving=serving)
        await asyncio.sleep(0.02)
    health.close()
    seen += [await status(watch) for _ in range(3)]
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING, None]


async def test_a_watch_of_another_name_stays_open(stub: Any, health: Health) -> None:
    """Watching a name that is not served tells SERVICE_UNKNOWN once and keeps nothing in the server."""
    watches = [stub.Watch(pb.HealthCheckRequest(service=f"x{n}"), timeout=10) for n in range(12)]
    assert {await status(watch) for watch in watches} == {SERVICE_UNKNOWN}
    health.set(serving=True)
    health.close()
    assert {await status(watch) for watch in watches} == {None}


async def test_a_watcher_that_left_is_forgotten(stub: Any, health: Health) -> None:
    """A watch that its client cancels does not disturb the others."""
    gone, stays = (stub.Watch(pb.HealthCheckRequest(), timeout=10) for _ in range(2))
    assert [await status(watch) for watch in (gone, stays)] == [NOT_SERVING] * 2
    gone.cancel()
    health.set(serving=True)
    assert await status(stays) == SERVING
    stays.cancel()
