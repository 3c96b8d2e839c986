"""One request and its response: a connection of its own, a body of bounded size, faults in words that give nothing away."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from extauthz.errors import UpstreamError

__all__ = ["MAX_BODY", "exchange", "fault_of", "read_body"]

MAX_BODY = 1 << 20
"""Bytes."""


@contextlib.asynccontextmanager
async def exchange(request: httpx2.Request, verify: ssl.SSLContext) -> AsyncIterator[httpx2.Response]:
    """One request and its response, on a connection that is closed at the end.

    A connection whose TLS handshake is cancelled belongs to nobody in httpx2 2.16 and would stay open for as long as the
    other side likes, so each is noted as it is made.
    """
    streams: list[Any] = []

    async def note(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            streams.append(info["return_value"])

    request.extensions["trace"] = note
    try:
        async with httpx2.AsyncHTTPTransport(verify=verify, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
    finally:
        for stream in streams:
            await stream.aclose()


async def read_body(response: httpx2.Response, host: str) -> bytes:
    """The body of a response, if it is as it was asked for and not too long.

    Raises:
        UpstreamError: It is not. The text begins with ``host``.
    """
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UpstreamError(f"{host}: answered in a compressed form that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise UpstreamError(f"{host}: answered more than {MAX_BODY} bytes")
    return bytes(body)


def fault_of(error: Exception) -> str:
    """What went wrong, in words that hold nothing of the request."""
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx2.ProtocolError):
        return "not an HTTP answer"
    return "the connection broke"
