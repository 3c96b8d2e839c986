"""The admin endpoints of all workers together, where their figures are added up."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extauthz.serving.admin import is_misled, json_answer, plain_answer
from extauthz.serving.worker_process import WorkerProcess

__all__ = ["Figures", "workers_app"]


class Figures(Protocol):
    """Adds up the figures of processes. ``extauthz.telemetry.MergedMetrics`` is the real one."""

    def retire(self, text: bytes) -> None:
        """Keep what a process counted that is no more."""
        ...

    def merged(self, texts: Sequence[bytes]) -> tuple[bytes, str]:
        """The figures of all, and their content type."""
        ...


def workers_app(
    workers: Sequence[WorkerProcess],
    figures: Figures,
    activities: Callable[[Sequence[bytes]], bytes] | None,
    stopping: Callable[[], bool],
) -> Starlette:
    """The endpoints as an ASGI application.

    ``activities`` makes one of what all of them told at ``/activity``: None where anybody could ask. ``stopping``: whether
    the server is.
    """

    async def livez(_: Request) -> Response:
        return plain_answer("ok")

    async def readyz(request: Request) -> Response:
        ready = any(worker.ready for worker in workers) and not stopping()
        lines: list[str] = []
        if "verbose" in request.query_params:
            for report in await asyncio.gather(*(worker.report() for worker in workers)):
                lines += report
            if stopping():
                lines.append("[-] draining: the server is stopping")
        lines.append("ready" if ready else "not ready")
        return plain_answer("\n".join(lines), 200 if ready else 503)

    async def counted(_: Request) -> Response:
        answering = sum(await asyncio.gather(*(worker.count() for worker in workers)))
        body, content_type = figures.merged([worker.figures for worker in workers])
        body += _own_figures(answering, sum(worker.restarts for worker in workers))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    routes = [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", counted, methods=["GET"]),
    ]
    if activities is not None:
        merge = activities

        async def active(request: Request) -> Response:
            if is_misled(request):
                return plain_answer("ask by address", 403)
            told = await asyncio.gather(*(worker.get("/activity") for worker in workers))
            return json_answer(merge([text for text in told if text]))

        routes.append(Route("/activity", active, methods=["GET"]))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


def _own_figures(answering: int, restarts: int) -> bytes:
    return (
        "# HELP extauthz_workers Worker processes that said how they are.\n"
        "# TYPE extauthz_workers gauge\n"
        f"extauthz_workers {answering}.0\n"
        "# HELP extauthz_worker_restarts_total Worker processes that died and were started again.\n"
        "# TYPE extauthz_worker_restarts_total counter\n"
        f"extauthz_worker_restarts_total {restarts}.0\n"
    ).encode()
