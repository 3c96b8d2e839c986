"""uvicorn inside our process: an ASGI application on one listener, in the event loop that is running.

The signals belong to ``server``, sockets are opened before it starts, connections are taken by ``Connections``, and it
neither logs nor names itself. What an application fails at is logged without its text, and answered with 500.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from extauthz.errors import ServingError
from extauthz.serving.certificates import Certificates, live_context
from extauthz.serving.connections import Connections
from extauthz.serving.faults import describe
from extauthz.serving.http_connection import HttpConnection
from extauthz.serving.listener import Address, Listener, UnixAddress
from extauthz.serving.sockets import address_of, open_socket, remove_unix_path

__all__ = ["ConnectionLimits", "EmbeddedServer"]

_log = structlog.get_logger()

_LOOK_SECONDS = 0.05
_CANCELLED_SECONDS = 1.0
"""How long an answer may take to end that was cut off."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What clients may cost an HTTP listener before anybody looks at what they ask."""

    connections: int = 256
    """How many there may be at a time."""
    header_bytes: int = 32 * 1024
    """Of the first line and all headers together."""
    header_seconds: float = 10.0
    """How long they may take to arrive."""
    idle_seconds: int = 10
    """How long a connection is kept for the next request."""


class EmbeddedServer:
    """A server for one listener: ``bind`` or ``adopt``, then ``start`` and ``stop``, once each."""

    def __init__(
        self, name: str, listener: Listener, app: ASGIApp, certificates: Certificates | None, limits: ConnectionLimits
    ) -> None:
        """Put the server together; nothing is opened yet.

        ``name`` is the setting's path; ``certificates`` are given if the listener has ``tls``.
        """
        self._name = name
        self._listener = listener
        config = uvicorn.Config(
            _heard(name, app),
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=limits.header_bytes,
            timeout_keep_alive=limits.idle_seconds,
        )
        self._server = _Embedded(config, None if certificates is None else live_context(certificates), limits)
        self._socket: socket.socket | None = None
        self._inode = 0
        self._task: asyncio.Task[None] | None = None

    def bind(self) -> Address:
        """Open the listener; gives the address that it got. Raises ServingError."""
        self._socket, address = open_socket(self._name, self._listener)
        if isinstance(address, UnixAddress):
            self._inode = Path(address.path).stat().st_ino
        return address

    def adopt(self, descriptor: int) -> Address:
        """Take a socket that another process has opened and shares; gives its address. What stands there at the end is
        the other's. Raises ServingError.
        """
        try:
            self._socket = socket.socket(fileno=descriptor)
            return address_of(self._socket)
        except (OSError, ValueError) as error:
            raise ServingError(f"{self._name}: the supervisor handed over no listening socket: {error}") from None

    async def start(self) -> None:
        """Begin to answer. Raises ServingError if that fails."""
        self._task = asyncio.create_task(self._run(), name=self._name)
        opened = asyncio.create_task(self._server.opened.wait())
        await asyncio.wait({self._task, opened}, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if self._task.done():
            await self._task

    async def _run(self) -> None:
        sockets = [] if self._socket is None else [self._socket]
        try:
            await self._server.serve(sockets=sockets)
        except SystemExit:
            raise ServingError(f"{self._name}: the listener could not be started") from None

    async def wait_closed(self) -> None:
        """Wait until the server has ended; raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def connection_counts(self) -> tuple[int, int, int]:
        """How many connections there are, how many were cut off to make room, and what came that was no request."""
        servers = self._server.servers
        return (
            sum(one.held for one in servers),
            sum(one.cut for one in servers),
            sum(one.malformed for one in servers),
        )

    def leave(self) -> None:
        """Let each connection end with its next answer, while new ones are still taken."""
        for connections in self._server.servers:
            connections.leaving = True

    async def stop(self, grace: float = 1.0) -> None:
        """Close the listener, then the connections; requests under way have ``grace`` seconds. Called once more it ends
        them at once.
        """
        if self._server.closing.is_set():
            self._server.cut_off()
        self._server.grace = grace
        self._server.closing.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._socket is not None:
            self._socket.close()
            if self._inode:
                remove_unix_path(self._listener.address, self._inode)
            self._socket = None


class _Embedded(uvicorn.Server):
    """uvicorn without its signal handlers, its clock and its way to take connections."""

    def __init__(self, config: uvicorn.Config, context: Any, limits: ConnectionLimits) -> None:
        super().__init__(config)
        self.closing = asyncio.Event()
        self.opened = asyncio.Event()
        self.grace = 0.0
        self._context = context
        self._limits = limits
        self.servers: list[Any] = []  # of Connections; uvicorn expects those of asyncio

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections, no more than may be."""
        for listening in sockets or ():
            connections = Connections(listening, self._context, most=self._limits.connections)
            connections.open(partial(self._connection, connections))
            self.servers.append(connections)
        self.started = True

    def _connection(self, connections: Connections) -> HttpConnection:
        return HttpConnection(self.config, self.server_state, connections, header_seconds=self._limits.header_seconds)

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn would wake ten times a second to write the date header, which is off."""
        self.opened.set()
        await self.closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let requests under way end, cut off what is left."""
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.grace):
                await self._finished()
        left = self.cut_off()
        if left:
            await asyncio.wait(left, timeout=_CANCELLED_SECONDS)
        for server in self.servers:
            await server.wait_closed()

    async def _finished(self) -> None:
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn signals neither
            await asyncio.sleep(_LOOK_SECONDS)

    def cut_off(self) -> set[asyncio.Task[None]]:
        """End all connections and the answers to their requests, which are given."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in self.server_state.tasks:
            task.cancel()
        return set(self.server_state.tasks)


def _heard(name: str, app: ASGIApp) -> ASGIApp:
    """The application, whose faults are logged without what their texts may quote."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            _log.error("a request could not be answered", listener=name, fault=describe(error))
            raise

    return answered
