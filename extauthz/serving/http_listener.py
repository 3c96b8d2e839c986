"""The http listener: HTTP as plain values to whoever answers, and back, within bounds.

What is asked and answered is the business of ``HttpAnswerer``. Here is what holds whatever is asked: how large a request may
be and how long it may take to arrive, how many are answered at a time and for how long, that a fault says nothing about
itself, and that nobody keeps an answer unless it says so. HEAD is asked as GET and answered without the body.

A client certificate counts if TLS has verified it on this very connection. What a proxy says about certificates
(``x-forwarded-client-cert``) is a header as any other: whoever reaches this port could write it.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

import structlog
from starlette.types import Message, Receive, Scope, Send

from extauthz.serving.certificates import Certificates
from extauthz.serving.embedded import ConnectionLimits, EmbeddedServer
from extauthz.serving.faults import describe
from extauthz.serving.http_connection import HttpConnection
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
_DISCARDED_BYTES = 1024 * 1024
_DISCARD_SECONDS = 1.0
"""What is read of a body that is too large: a client that still sends would not see the answer."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_OURS = frozenset({"connection", "content-length", "transfer-encoding"})
_DEFAULTS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_BODILESS = frozenset({204, 304})


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


class _Gone(Exception):  # noqa: N818 - no fault of anybody
    """The client has left."""


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
        headers = None if _header_size(scope) > self._limits.connection.header_bytes else _headers(scope)
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
        except _Gone:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            _log.error("a request could not be answered", listener=HTTP, fault=describe(error))
            answer, last = _FAULT, False
        try:
            async with asyncio.timeout(self._limits.deadline):
                for message in _messages(answer, last=last or connection.last(self._limits.age)):
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
                body = await _body(receive, headers, self._limits.body_bytes)
        except TimeoutError:
            return _TOO_SLOW, True
        if body is None:
            await _discard(receive)
            return _refusal(413, "invalid_request", f"the body is larger than {self._limits.body_bytes} bytes"), True
        if self.in_flight >= self._limits.in_flight:
            return _TOO_MANY, False
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._limits.deadline):
                answer = await self._answer(_question(scope, headers, body, self._now()))
        except TimeoutError:
            return _TOO_LATE, False
        finally:
            self.in_flight -= 1
        if fault := _fault_of(answer):
            raise ValueError(fault)
        return answer, False


def _header_size(scope: Scope) -> int:
    """In bytes. What arrives in one piece was not measured when it was read."""
    sizes = (len(name) + len(value) + 4 for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(sizes)


def _headers(scope: Scope) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: tuple(values) for name, values in found.items()}


async def _body(receive: Receive, headers: Mapping[str, tuple[str, ...]], most: int) -> bytes | None:
    """The body; None if it is larger than may be. Raises _Gone."""
    # What is no number, or several that differ, was refused as malformed before.
    if int(headers.get("content-length", ("0",))[0]) > most:
        return None
    body, more = await _part(receive)
    while more:
        part, more = await _part(receive)
        body += part
        if len(body) > most:
            return None
    return body if len(body) <= most else None


async def _discard(receive: Receive) -> None:
    """Read on for a moment. Raises _Gone."""
    left, more = _DISCARDED_BYTES, True
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while more and left > 0:
                part, more = await _part(receive)
                left -= len(part)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """Some of the body, and whether there is more. Raises _Gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Gone
    return message.get("body", b""), message.get("more_body", False)


def _question(scope: Scope, headers: Mapping[str, tuple[str, ...]], body: bytes, now: float) -> HttpQuestion:
    method: str = scope["method"]
    connection: HttpConnection = scope["state"]["connection"]
    shown = connection.certificate
    return HttpQuestion(
        method="GET" if method == "HEAD" else method,
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
        address=_address(scope["client"]),
        certificate=None if shown is None or now >= shown.expires else shown.der,
    )


def _address(client: tuple[str, int] | None) -> str:
    """The other end in its one spelling; empty for a unix socket."""
    if client is None:
        return ""
    address = ip_address(client[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _fault_of(answer: HttpAnswer) -> str:
    """Why an answer can't be sent; empty if it can. It quotes nothing."""
    if not 200 <= answer.status <= 599:  # noqa: PLR2004 - what is final in HTTP
        return "the status is not that of a final answer"
    for name, value in answer.headers:
        if not _NAME.fullmatch(name) or not (_VALUE.fullmatch(value) or not value):
            return "a header has a name or value that HTTP does not know"
    return ""


def _messages(answer: HttpAnswer, *, last: bool) -> Iterator[Message]:
    """An answer as ASGI has it."""
    given = {name.lower() for name, _ in answer.headers}
    headers = [(name.lower(), value) for name, value in answer.headers if name.lower() not in _OURS]
    headers += [(name, value) for name, value in _DEFAULTS.items() if name not in given]
    body = b"" if answer.status in _BODILESS else answer.body
    if answer.status not in _BODILESS:
        headers.append(("content-length", str(len(body))))
    if last:
        headers.append(("connection", "close"))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    yield {"type": "http.response.start", "status": answer.status, "headers": encoded}
    yield {"type": "http.response.body", "body": body}
