"""A real Envoy between a client and an authorization server that a test scripts or runs whole.

The servers run in the test's own event loop; Envoy and the echo services are processes, started from worker threads so
that the loop can answer Envoy's health checks meanwhile.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from extauthz.serving.grpc_server import GrpcOptions, GrpcServer
from extauthz.serving.health import Health
from extauthz.serving.listener import Listener, parse_address
from extauthz.serving.transport import Handler
from extauthz.wire import INTERNAL_ERROR_ANSWER
from mesh.address import free_address, free_addresses
from mesh.options import EnvoyOptions
from mesh.processes import Process, accepts
from mesh.proxy import PROJECT, EnvoyProcess

PATIENT = timedelta(seconds=4)
"""How long Envoy waits for a Check, where a test asks for nothing else. The servers share the tests' process, which a busy
machine or a garbage collection may stop for longer than the recommended quarter of a second; clients wait for 5 s.
"""

StartServer = Callable[..., AbstractAsyncContextManager[str]]
StartEnvoy = Callable[..., AbstractAsyncContextManager[EnvoyProcess]]


@pytest.fixture(scope="session")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of the HTTP echo and the gRPC echo."""
    http, grpc = free_addresses(0, 0)
    command = [sys.executable, "-m", "mesh.upstreams", "--http", http, "--grpc", grpc]
    log = tmp_path_factory.mktemp("upstreams") / "log"
    with Process("upstreams", command, log=log, ready=[accepts(http), accepts(grpc)], directory=PROJECT):
        yield http, grpc


@pytest.fixture
def start_server() -> StartServer:
    """Serve Checks with a handler of the test; gives the address."""

    @asynccontextmanager
    async def start(handler: Handler, **options: Any) -> AsyncIterator[str]:
        health = Health()
        listener = Listener(parse_address(free_address()))
        server = GrpcServer(listener, handler, INTERNAL_ERROR_ANSWER, health, options=GrpcOptions(**options))
        address = str(server.bind("listen.check"))
        await server.start()
        health.set(serving=True)
        try:
            yield address
        finally:
            health.close()
            await server.stop(0)

    return start


@pytest.fixture
def start_envoy(upstreams: tuple[str, str], tmp_path: Path) -> StartEnvoy:
    """Run an Envoy that asks the given servers; keywords are fields of ``EnvoyOptions``. Several need a folder each."""

    @asynccontextmanager
    async def start(*authz: str, folder: Path = tmp_path, **options: Any) -> AsyncIterator[EnvoyProcess]:
        listen, admin = free_addresses(0, 0)
        values: dict[str, Any] = {"listen": listen, "admin": admin, "upstream": upstreams[0]}
        values |= {"grpc_upstream": upstreams[1], "authz_timeout": PATIENT}
        folder.mkdir(exist_ok=True)
        log = str(folder / "access.log")
        envoy = EnvoyProcess(EnvoyOptions(authz=authz, access_log=log, **(values | options)), folder)
        await asyncio.to_thread(envoy.start)
        try:
            await asyncio.to_thread(envoy.wait_ready)
            yield envoy
        finally:
            await asyncio.to_thread(envoy.stop)

    return start
