"""grpc.health.v1: whether Checks are answered here, as Envoy's health checks ask.

The answer is one bit for the whole server, given for ``""`` and for the Authorization service; every other name is
NOT_FOUND. The servicer of grpcio-health-checking keeps a table entry for each name that a Watch asks for, and knows no
end of a Watch: a stream that stays open would hold up an orderly stop for its whole grace. Here a watch keeps nothing
but its own stream, and ``close`` ends them all.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from extauthz.serving.transport import CHECK_SERVICE

__all__ = ["HEALTH_SERVICE", "Health"]

HEALTH_SERVICE = "grpc.health.v1.Health"

_NAMES = ("", CHECK_SERVICE)

# The published stubs are older than the package: they don't know List.
_pb: Any = health_pb2
_Response = _pb.HealthCheckResponse


class Health:
    """The health service. NOT_SERVING until told otherwise. To be made and told in the event loop."""

    def __init__(self) -> None:
        self._status = _Response.NOT_SERVING
        self._closed = False
        self._changed = asyncio.Event()

    def set(self, *, serving: bool) -> None:
        """Say whether Checks should be sent here. Watchers are told. Without effect once closed."""
        self._status = _Response.SERVING if serving and not self._closed else _Response.NOT_SERVING
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Answer NOT_SERVING and end all watches, so that a stop need not wait for them."""
        self._closed = True
        self.set(serving=False)

    def service(self) -> grpc.GenericRpcHandler:
        """The service as gRPC registers it."""
        methods: dict[str, Any] = {
            "Check": grpc.unary_unary_rpc_method_handler(self.check),
            "List": grpc.unary_unary_rpc_method_handler(self.list),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
        }
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, methods)

    async def check(self, message: bytes, context: Any) -> bytes:
        """Answer one question; NOT_FOUND for a name that is not served here."""
        answer = self.answer(message)
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return answer or b""

    async def list(self, _message: bytes, _context: Any) -> bytes:
        """Name what is served here, with its health."""
        return self.listing()

    async def watch(self, message: bytes, _context: Any) -> AsyncIterator[bytes]:
        """Tell the health now and after each change."""
        async for told in self.changes(message):
            yield told

    def answer(self, message: bytes) -> bytes | None:
        """The answer to a serialised HealthCheckRequest; None for a name that is not served here."""
        if _asked(message) not in _NAMES:
            return None
        told: bytes = _Response(status=self._status).SerializeToString()
        return told

    def listing(self) -> bytes:
        """What is served here, with its health, as a serialised HealthListResponse."""
        statuses = {name: _Response(status=self._status) for name in _NAMES}
        told: bytes = _pb.HealthListResponse(statuses=statuses).SerializeToString()
        return told

    async def changes(self, message: bytes) -> AsyncIterator[bytes]:
        """The answers to a Watch: the health now and after each change, until the server closes.

        A name that is not served here is SERVICE_UNKNOWN, and the stream stays open, as health.proto asks.
        """
        known = _asked(message) in _NAMES
        told = None
        while True:
            changed = self._changed
            status = self._status if known else _Response.SERVICE_UNKNOWN
            if status != told:
                told = status
                yield _Response(status=status).SerializeToString()
            if self._closed:
                return
            await changed.wait()


def _asked(message: bytes) -> str | None:
    """The name in a serialised HealthCheckRequest; None if it is none."""
    try:
        name: str = _pb.HealthCheckRequest.FromString(message).service
    except DecodeError:
        return None
    return name
