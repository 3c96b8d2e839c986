"""The admin listener: is the process alive, should it get traffic, what are its figures. Read only, no secrets.

``/livez`` answers as long as the event loop turns, and says nothing about readiness: a process that waits for keys
must not be restarted. ``/readyz`` is 200 or 503, and with ``?verbose`` one line for each part. ``/metrics`` gives what
the telemetry room wrote, and ``/activity``, where only those beside the server can ask, what ``extauthz top`` shows. It stays open until the very end of a stop, so that the drain can be watched.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extauthz.serving.certificates import Certificates
from extauthz.serving.embedded import ConnectionLimits, EmbeddedServer
from extauthz.serving.listener import Listener
from extauthz.serving.readiness import Readiness

__all__ = ["ADMIN", "Activity", "AdminServer", "Metrics", "admin_app", "is_misled", "json_answer"]
__all__ += ["plain_answer"]

ADMIN = "listen.admin"
"""The setting."""

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


class AdminServer(EmbeddedServer):
    """An ASGI application on the admin listener, in the event loop that is running."""

    def __init__(self, listener: Listener, app: Starlette, certificates: Certificates | None = None) -> None:
        """Put the server together; nothing is opened yet. ``certificates`` are given if the listener has ``tls``."""
        super().__init__(ADMIN, listener, app, certificates, ConnectionLimits())
