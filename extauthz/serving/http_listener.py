"""The http listener: HTTP as plain values to whoever answers, and back, within bounds.

What is asked and answered is the business of ``HttpAnswerer``. Here is what holds whatever is asked: how large a request may
be and how long it may take to arrive, how many are answered at a time and for how long, that a fault says nothing about
itself, and that nobody keeps an answer unless it says so. HEAD is asked as GET and answered without the body.

A client certificate counts if TLS has verified it on this very connection. What a proxy says about certificates
(``x-forwarded-client-cert``) is a header as any other: whoever reaches this port could write it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from extauthz.serving.certificates import Certificates
from extauthz.serving.embedded import ConnectionLimits, EmbeddedServer
from extauthz.serving.faults import describe
from extauthz.serving.http_connection import HttpConnection
from extauthz.serving.http_messages import (
    ClientGone,
    discard_body,
    fault_of,
    header_size,
    messages_of,
    question_of,
    read_body,
    read_headers,
)
from extauthz.serving.listener import Listener
from extauthz.tokens.http import HttpAnswer, HttpQuestion

__all__ = ["HTTP", "HttpAnswerer", "HttpApp", "HttpCounts", "HttpLimits", "HttpObserver", "HttpServer"]

_log = structlog.get_logger()

HTTP = "listen.http"
"""The setting."""

HttpAnswerer = Callable[[HttpQuestion], Awaitable[HttpAnswer]]
"""Answers what is asked on the http listener. Refusals are answers; whatever it raises is a fault, and answered as one."""


@dataclass(frozen=True, slots=True)
class HttpCounts:
    """How the listener is doing."""

    in_flight: int
    """Requests that are being answered."""
    connections: int
    """Those that hold a place."""
    cut: int
    """Connections that were closed to make room."""
    malformed: int
    """What came and was no request."""


class HttpObserver(Protocol):
    """Sees each request from outside. None of this raises or waits."""

    def watch(self, counts: Callable[[], HttpCounts]) -> None:
        """Show these counts. Called once."""
        ...

    def begin(self, method: str, path: str, headers: Mapping[str, tuple[str, ...]]) -> Any:
        """The header of a request is there. What is returned goes to one of the others, in the same task."""
        ...

    def finish(self, begun: Any, method: str, status: int) -> None:
        """It was answered."""
        ...

    def abandon(self, begun: Any) -> None:
        """The client has left before."""
        ...


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a request may cost."""

    connection: ConnectionLimits = field(default_factory=lambda: ConnectionLimits(connections=1024, idle_seconds=60))
    body_bytes: int = 64 * 1024
    body_seconds: float = 10.0
    """From the end of the header to the end of the body."""
    in_flight: int = 256
    """Requests that are answered at a time; more are told to come back."""
    deadline: float = 10.0
    """Seconds for an answer, and as many for the client to take it."""
    age: float = 600.0
    """Seconds after which a connection is closed with its next answer, so that clients spread over new replicas."""


_RETRY_SECONDS = 1


def _refusal(status: int, error: str, description: str, *more: tuple[str, str]) -> HttpAnswer:
    """An answer in the form of RFC 6749 section 5.2."""
    body = f'{{"error": "{error}", "error_description": "{description}"}}'.encode()
    return HttpAnswer(status, (("content-type", "application/json"), *more), body)


_LATER = ("retry-after", str(_RETRY_SECONDS))
_LARGE_HEADER = _refusal(431, "invalid_request", "the header of the request is too large")
_TWO_LENGTHS = _refusal(400, "invalid_request", "the request says its length in two ways")
_TOO_SLOW = _refusal(408, "invalid_request", "the body did not arrive in time")
_TOO_MANY = _refusal(503, "temporarily_unavailable", "too many requests are being answered", _LATER)
_TOO_LATE = _refusal(503, "temporarily_unavailable", "there was no answer in time", _LATER)
_FAULT = _refusal(500, "server_error", "the request could not be answered because of a fault")


class HttpServer(EmbeddedServer):
    """The http listener in the event loop that is running."""

    def __init__(
        self,
        listener: Listener,
        answer: HttpAnswerer,
        certificates: Certificates | None = None,
        limits: HttpLimits | None = None,
        observer: HttpObserver | None = None,
    ) -> None:
        """Put the server together; nothing is opened yet. ``certificates`` are given if the listener has ``tls``."""
        chosen = limits or HttpLimits()
        self.app = HttpApp(answer, chosen, observer=observer)
        super().__init__(HTTP, listener, self.app, certificates, chosen.connection)
        if observer is not None:
            observer.watch(self.counts)

    def counts(self) -> HttpCounts:
        """How it is doing."""
        connections, cut, malformed = self.connection_counts()
        return HttpCounts(self.app.in_flight, connections, cut, malformed)


class HttpApp:
    """Whoever answers, as an ASGI application."""

    def __init__(
        self,
        answer: HttpAnswerer,
        limits: HttpLimits,
        now: Callable[[], float] = time.time,
        observer: HttpObserver | None = None,
    ) -> None:
        """Keep what answers; ``now`` gives seconds since the epoch."""
        self._observer = observer
        self._answer = answer
        self._limits = limits
        self._now = now
        self.in_flight = 0
        """Requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        observer = self._observer
        # One that is too large is not read any further.
        headers = None if header_size(scope) > self._limits.connection.header_bytes else read_headers(scope)
        if observer is None:
            await self._respond(scope, headers, receive, send)
            return
        method: str = scope["method"]
        begun = observer.begin(method, scope["raw_path"].decode("latin-1"), headers or {})
        status: int | None = None
        try:
            status = await self._respond(scope, headers, receive, send)
        finally:
            if status is None:
                observer.abandon(begun)
            else:
                observer.finish(begun, method, status)

    async def _respond(
        self, scope: Scope, headers: Mapping[str, tuple[str, ...]] | None, receive: Receive, send: Send
    ) -> int | None:
        """Answer; gives the status, or None if the client has left."""
        connection: HttpConnection = scope["state"]["connection"]
        try:
            answer, last = await self._judge(scope, headers, receive)
        except ClientGone:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            _log.error("a request could not be answered", listener=HTTP, fault=describe(error))
            answer, last = _FAULT, False
        try:
            async with asyncio.timeout(self._limits.deadline):
                for message in messages_of(answer, last=last or connection.last(self._limits.age)):
                    await send(message)
        except TimeoutError:
            # It does not read.
            connection.transport.abort()
        return answer.status

    async def _judge(
        self, scope: Scope, headers: Mapping[str, tuple[str, ...]] | None, receive: Receive
    ) -> tuple[HttpAnswer, bool]:
        """The answer to a request, and whether the connection has to end with it."""
        if headers is None:
            return _LARGE_HEADER, True
        if "transfer-encoding" in headers and ("content-length" in headers or scope["http_version"] != "1.1"):
            # Who stands in front may have believed the other one, and take the rest for another request. HTTP/1.0 knows no
            # chunks, and who speaks it may have passed them on as they are (RFC 9112 section 6.1).
            return _TWO_LENGTHS, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await read_body(receive, headers, self._limits.body_bytes)
        except TimeoutError:
            return _TOO_SLOW, True
        if body is None:
            await discard_body(receive)
            return _refusal(413, "invalid_request", f"the body is larger than {self._limits.body_bytes} bytes"), True
        if self.in_flight >= self._limits.in_flight:
            return _TOO_MANY, False
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._limits.deadline):
                answer = await self._answer(question_of(scope, headers, body, self._now()))
        except TimeoutError:
            return _TOO_LATE, False
        finally:
            self.in_flight -= 1
        if fault := fault_of(answer):
            raise ValueError(fault)
        return answer, False
