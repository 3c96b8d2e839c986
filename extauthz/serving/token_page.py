"""The pages of an agent: the token for the workload beside it, and the probes and figures for everybody else.

Who reaches the token page may have the token, as with the metadata services of clouds; and as with those, the danger is a
workload that is led to ask for somebody else (SSRF), or a browser (DNS rebinding). So the page is on loopback or a unix
socket alone, wants a header that no link, form or redirect can add, refuses what came through a proxy, and wants to be asked
by address.
"""

from collections.abc import Callable
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extauthz.errors import ServingError
from extauthz.serving.admin import Metrics, is_misled, json_answer, plain_answer
from extauthz.serving.embedded import ConnectionLimits, EmbeddedServer
from extauthz.serving.listener import Address, Listener, UnixAddress, check_listener

__all__ = ["PageServer", "Probed", "probe_app", "token_app"]

_HEADER = "metadata"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")
_RETRY = {"retry-after": "1"}

GiveToken = Callable[[str], tuple[bytes, str] | None]
"""Gives the body for the token page and its content type, for what the client accepts; None: there is no token."""


class Probed(Protocol):
    """What probes ask."""

    @property
    def ready(self) -> bool:
        """Whether all is well."""
        ...

    def report(self) -> list[str]:
        """A line for each part, and the verdict in the last."""
        ...


def token_app(give: GiveToken) -> Starlette:
    """``GET /token`` as an ASGI application."""

    async def token(request: Request) -> Response:
        if any(name in request.headers for name in _FORWARDED):
            return plain_answer("not through a proxy", 403)
        if is_misled(request):
            return plain_answer("ask by address", 403)
        if request.headers.getlist(_HEADER) != ["true"]:
            return plain_answer("the header Metadata: true is missing", 400)
        given = give(request.headers.get("accept", ""))
        if given is None:
            answer = plain_answer("there is no token in force", 503)
            answer.headers.update(_RETRY)
            return answer
        body, media_type = given
        answer = json_answer(body)
        answer.headers["content-type"] = media_type
        answer.headers["vary"] = "accept"
        return answer

    return _app({"/token": token})


def probe_app(probed: Probed, metrics: Metrics) -> Starlette:
    """``/livez``, ``/readyz`` and ``/metrics`` as an ASGI application."""

    async def livez(_: Request) -> Response:
        return plain_answer("ok")

    async def readyz(request: Request) -> Response:
        lines = probed.report()
        return plain_answer("\n".join(lines if "verbose" in request.query_params else lines[-1:]), _status(probed))

    async def figures(request: Request) -> Response:
        body, content_type = metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    return _app({"/livez": livez, "/readyz": readyz, "/metrics": figures})


class PageServer:
    """An application on a listener of its own."""

    def __init__(self, name: str, listener: Listener, app: Starlette, *, private: bool = False) -> None:
        """``name`` is the setting; ``private``: it may only be on loopback or a unix socket.

        Raises:
            ServingError: The listener must not be opened.
        """
        address = listener.address
        if private and not (isinstance(address, UnixAddress) or address.host.is_loopback):
            raise ServingError(f"{name}: {address} can be reached from other machines; use 127.0.0.1 or a unix socket")
        if problem := check_listener(name, listener):
            raise ServingError(problem)
        self.name = name
        self._server = EmbeddedServer(name, listener, app, None, ConnectionLimits())

    async def open(self) -> Address:
        """Open it, and begin to answer. Raises ServingError."""
        address = self._server.bind()
        try:
            await self._server.start()
        except BaseException:
            await self._server.stop()
            raise
        return address

    async def wait_closed(self) -> None:
        """Wait until the server has ended; raises what ended it."""
        await self._server.wait_closed()

    async def stop(self) -> None:
        """Close it."""
        await self._server.stop()


def _status(probed: Probed) -> int:
    return 200 if probed.ready else 503


def _app(pages: dict[str, Callable[[Request], object]]) -> Starlette:
    app = Starlette(routes=[Route(path, page, methods=["GET"]) for path, page in pages.items()])
    app.router.redirect_slashes = False
    return app
