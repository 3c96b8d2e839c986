"""The HTTP upstream: answers every request with what it received, and echoes websocket messages.

Model: the answer is JSON with method, path, query, the headers in order of arrival and the trace context, so a caller
sees which subject the upstream was told about and whether a spoofed name survived.

Trade-off: headers are shown in full, the Authorization header included. An echo that hid it could not prove that a
policy removed it; and it is why this upstream listens on loopback alone unless told otherwise.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.propagate import extract
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def echo(request: Request) -> JSONResponse:
    """What arrived, as JSON."""
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw]
    context = extract(dict(request.headers))
    tracer = trace.get_tracer("mesh.upstreams")
    with tracer.start_as_current_span(f"echo {request.method}", context, kind=trace.SpanKind.SERVER):
        body = await request.body()
        return JSONResponse(
            {
                "service": "echo",
                "method": request.method,
                "path": request.scope["raw_path"].decode("latin-1"),
                "query": request.url.query,
                "headers": headers,
                "traceparent": request.headers.get("traceparent"),
                "body_bytes": len(body),
            }
        )


async def live(socket: WebSocket) -> None:
    """Echoes text messages; the first one says who is connected, as the upstream was told."""
    await socket.accept()
    await socket.send_text(f"hello {socket.headers.get('x-auth-subject', 'stranger')}")
    async for message in socket.iter_text():
        await socket.send_text(message)


def application() -> Starlette:
    """The ASGI application."""
    return Starlette(
        routes=[WebSocketRoute("/{path:path}", live), Route("/{path:path}", echo, methods=METHODS)],
    )
