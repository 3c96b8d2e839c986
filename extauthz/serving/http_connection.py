"""One HTTP/1.1 connection: uvicorn's, with the bounds that it lacks.

uvicorn waits without end for a request that a client has begun, and does not tell applications whose certificate TLS has
verified. Here the header of a request has to arrive within a time, and the certificate is kept with the connection. What
a client does wrong is answered and not logged: the log would be the client's to fill.
"""

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from extauthz.serving.connections import Connections

__all__ = ["ClientCertificate", "HttpConnection"]

_MALFORMED = b'{"error": "invalid_request", "error_description": "it can not be read as a request of HTTP/1.1"}'
_UNHEARD = logging.getLogger("extauthz.unheard")
_UNHEARD.disabled = True
_UNHEARD.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate whose chain TLS has verified when the connection began."""

    der: bytes = field(repr=False)
    expires: float
    """In seconds since the epoch: the connection may outlive it."""


class HttpConnection(H11Protocol):
    """What speaks on a connection. Applications find it as ``scope["state"]["connection"]``."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, connections: Connections, *, header_seconds: float
    ) -> None:
        """Nothing is connected yet. ``header_seconds`` is what a client has for the header of a request."""
        super().__init__(config, state, {"connection": self})
        self.logger = _UNHEARD
        self._began = time.monotonic()
        self.certificate: ClientCertificate | None = None
        self._connections = connections
        self._header_seconds = header_seconds
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(cast("asyncio.Transport", _OneWrite(transport, self.loop)))
        self.certificate = _certificate(transport.get_extra_info("ssl_object"))
        self._connections.opened(self)
        self._connections.waits(self, transport.abort)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._stop_clock()
        super().connection_lost(exc)
        self._connections.lost(self)

    def data_received(self, data: bytes) -> None:
        """Read on. The clock runs from the first byte of a request to the end of its header."""
        if self._clock is None and not self._asked:
            self._start_clock()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may be here already; uvicorn has the clock for connections at rest."""
        self._connections.waits(self, self.transport.abort)
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text
        """Answer what is no request."""
        self._connections.malformed += 1
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(_MALFORMED))),
                ("cache-control", "no-store"),
                ("connection", "close"),
            ]
            for part in (h11.Response(status_code=400, headers=headers), h11.Data(data=_MALFORMED), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def last(self, age: float) -> bool:
        """Whether it ends with the answer to its request: it is ``age`` seconds old, or the listener closes soon."""
        old = time.monotonic() - self._began > age
        return old or self._connections.leaving or not self.cycle.keep_alive

    @property
    def _asked(self) -> bool:
        """Whether there is a request that is not answered yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _look(self) -> None:
        """See how far the request is that comes."""
        if self._asked:
            self._stop_clock()
            if self.conn.their_state in {h11.DONE, h11.MUST_CLOSE}:
                self._connections.works(self)

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self._header_seconds, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class _OneWrite:
    """A transport on which what is written in one turn of the event loop goes out together: a header and its body are one
    packet, and one call of the kernel.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Whatever is not written goes to the transport as it is."""
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it to the end of this turn."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        """What was written goes out before the end."""
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()


def _certificate(connection: Any) -> ClientCertificate | None:
    """What the client has shown; None if it was not asked for, was not shown, or can't be read."""
    if not isinstance(connection, ssl.SSLObject) or connection.context.verify_mode is ssl.CERT_NONE:
        return None
    der = connection.getpeercert(binary_form=True)
    if not der:
        return None
    from cryptography import x509  # much memory, for who is shown no certificate

    try:
        return ClientCertificate(der, x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp())
    except ValueError:
        return None
