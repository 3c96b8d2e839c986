"""The admin listener: is the process alive, should it get traffic, what are its figures. Read only, no secrets.

``/livez`` answers as long as the event loop turns, and says nothing about readiness: a process that waits for keys
must not be restarted. ``/readyz`` is 200 or 503, and with ``?verbose`` one line for each part. ``/metrics`` gives what
the telemetry room wrote, and ``/activity``, where only those beside the server can ask, what ``extauthz top`` shows. It stays open until the very end of a stop, so that the drain can be watched.

uvicorn is embedded: the signals belong to ``server``, sockets are opened before it starts, and it neither logs nor
names itself.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extauthz.errors import ServingError
from extauthz.serving.certificates import Certificates, live_context
from extauthz.serving.listener import Address, Listener, UnixAddress
from extauthz.serving.readiness import Readiness
from extauthz.serving.sockets import open_socket, remove_unix_path

__all__ = ["Activity", "AdminServer", "Metrics", "admin_app", "is_misled", "json_answer"]
__all__ += ["plain_answer"]

_IDLE_SECONDS = 10
_CLOSE_SECONDS = 1

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::[0-9]+)?")
_OWN_NAMES = ("localhost", "admin", "worker")
"""What clients on this machine call us; the latter two over unix sockets."""

Metrics = Callable[[str], tuple[bytes, str]]
"""Gives the text for ``/metrics`` and its content type, for what the client accepts."""
Activity = Callable[[], bytes]
"""Gives the JSON for ``/activity``."""


def admin_app(readiness: Readiness, metrics: Metrics, activity: Activity | None = None) -> Starlette:
    """The endpoints as an ASGI application. ``activity`` names paths and subjects: None where anybody could ask."""

    async def livez(_: Request) -> Response:
        return plain_answer("ok")

    async def readyz(request: Request) -> Response:
        status = 200 if readiness.ready else 503
        verbose = "verbose" in request.query_params
        return plain_answer("\n".join(readiness.report() if verbose else readiness.report()[-1:]), status)

    async def figures(request: Request) -> Response:
        body, content_type = metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def active(request: Request) -> Response:
        if activity is None or is_misled(request):
            return plain_answer("ask by address", 403)
        return json_answer(activity())

    # Starlette adds HEAD to GET and answers every other method with 405.
    routes = [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", figures, methods=["GET"]),
    ]
    if activity is not None:
        routes.append(Route("/activity", active, methods=["GET"]))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


def is_misled(request: Request) -> bool:
    """Whether a browser may have been led here by a name that somebody else points at this machine (DNS rebinding).

    Its page could then read the answer. By an address, by the names that our own clients use, or by TLS, it can't. The
    header is read here: libraries replace one that they can't read by the server's own address.
    """
    if request.scope["scheme"] == "https":
        return False
    found = _HOST.fullmatch(request.headers.get("host", ""))
    host = (found[1] or found[2]) if found else ""
    if host in _OWN_NAMES:
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def plain_answer(text: str, status: int = 200) -> Response:
    """A text, which nobody may keep."""
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return PlainTextResponse(text + "\n", status, headers)


def json_answer(body: bytes) -> Response:
    """JSON, which nobody may keep."""
    headers = {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return Response(body, headers=headers)


class AdminServer:
    """An ASGI application on one listener, in the event loop that is running."""

    def __init__(self, listener: Listener, app: Starlette, certificates: Certificates | None = None) -> None:
        """Put the server together; nothing is opened yet. ``certificates`` are given if the listener has ``tls``."""
        self._listener = listener
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
            ssl_context_factory=None if certificates is None else lambda *_: live_context(certificates),
        )
        self._server = _Embedded(config)
        self._socket: socket.socket | None = None
        self._inode = 0
        self._task: asyncio.Task[None] | None = None

    def bind(self, name: str) -> Address:
        """Open the listener; gives the address that it got. ``name`` is the setting's path. Raises ServingError."""
        self._socket, address = open_socket(name, self._listener)
        if isinstance(address, UnixAddress):
            self._inode = Path(address.path).stat().st_ino
        return address

    async def start(self) -> None:
        """Begin to answer. Raises ServingError if that fails."""
        self._task = asyncio.create_task(self._run(), name="admin listener")
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
            raise ServingError("the admin listener could not be started") from None

    async def wait_closed(self) -> None:
        """Wait until the server has ended; raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Close the listener, then the connections, which have a second for what they are sending."""
        self._server.closing.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._socket is not None:
            self._socket.close()
            remove_unix_path(self._listener.address, self._inode)
            self._socket = None


class _Embedded(uvicorn.Server):
    """uvicorn without its signal handlers and its clock."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.closing = asyncio.Event()
        self.opened = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the supervisor."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn would wake ten times a second to write the date header, which is off."""
        self.opened.set()
        await self.closing.wait()
