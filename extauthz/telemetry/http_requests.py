"""Sees each request to the http listener from outside: its metrics, its span, and the trace id in its log lines.

A span is made under the conditions that hold for Checks (``spans``), only that the parent is in the request's own headers:
here the client itself is the caller. A caller who says that it is sampled has its spans made, as many as the exporter's
queue has room for, and no more. Names are the HTTP semantic conventions', values from fixed tables: no path as it was sent,
no query, no header, and nothing of a token or a client.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from structlog.contextvars import bind_contextvars, unbind_contextvars

from extauthz.telemetry.attributes import REQUEST, WAITED, request_attributes, request_name
from extauthz.telemetry.http_series import HttpCounts, HttpSeries
from extauthz.telemetry.open_request import OPEN, OpenRequest
from extauthz.telemetry.parent import find_parent
from extauthz.telemetry.repeats import Repeats
from extauthz.telemetry.sampled import PARENT_HEADERS
from extauthz.tokens.endpoints import Endpoint, Endpoints

if TYPE_CHECKING:
    from extauthz.telemetry.spans import CheckTracer, Span

__all__ = ["HttpRequests"]

_log = structlog.get_logger(__name__)

_FAULT: Final = 500
_TRACE: Final = "trace_id"


@dataclass(frozen=True, slots=True)
class _Begun:
    endpoint: Endpoint
    at: float
    request: OpenRequest | None
    traced: bool


class HttpRequests:
    """Implements the ``HttpObserver`` of ``extauthz.serving``. Nothing that goes wrong here changes an answer."""

    def __init__(
        self,
        series: HttpSeries,
        endpoints: Endpoints,
        tracer: "CheckTracer | None",
        *,
        clock: Callable[[], float],
    ) -> None:
        """Count in ``series``; ``clock`` is monotonic."""
        self._series = series
        self._endpoints = endpoints
        self._tracer = tracer
        self._clock = clock
        self._repeats = Repeats(clock)

    def watch(self, counts: Callable[[], HttpCounts]) -> None:
        """Show how the listener is doing."""
        self._series.watch(counts)

    def begin(self, method: str, path: str, headers: Mapping[str, tuple[str, ...]]) -> _Begun:
        """The header of a request is there. What is returned goes to ``finish`` or ``abandon``, in the same task."""
        endpoint, at = self._endpoints.of(path), self._clock()
        carried = [(name, text) for name in PARENT_HEADERS if name in headers for text in headers[name]]
        request: OpenRequest | None = None
        traced = False
        try:
            parent = find_parent(carried) if carried else None
            if parent is not None:
                bind_contextvars(**{_TRACE: f"{parent.trace_id:032x}"})
                traced = True
            span = self._begun(carried, method, endpoint)
            if span is not None:
                bind_contextvars(**{_TRACE: _trace_of(span)})
                traced = True
                request = OpenRequest(span, at)
                OPEN.set(request)
        except Exception:  # noqa: BLE001 - the request is answered without a span
            self._told()
        return _Begun(endpoint, at, request, traced)

    def _begun(self, carried: list[tuple[str, str]], method: str, endpoint: Endpoint) -> "Span | None":
        if self._tracer is None:
            return None
        return self._tracer.begin(carried, request_name(method, endpoint.route), REQUEST)

    def finish(self, begun: _Begun, method: str, status: int) -> None:
        """It was answered with this status."""
        seconds = self._clock() - begun.at
        request = begun.request
        try:
            trace = "" if request is None else _trace_of(request.span)
            self._series.answered(begun.endpoint.name, status, seconds, trace)
            if request is not None and self._tracer is not None:
                span = request.span
                span.set_attributes(request_attributes(method, begun.endpoint.route, status))
                span.set_attributes(request.words)
                if request.waits:
                    span.set_attribute(WAITED, sum(wait.seconds for wait in request.waits))
                    self._tracer.waited(span, request.waits)
                self._tracer.end(span, seconds, fault=status >= _FAULT)
        except Exception:  # noqa: BLE001 - likewise
            self._told()
        self._forget(begun)

    def abandon(self, begun: _Begun) -> None:
        """The client left before the answer."""
        self._series.abandoned()
        try:
            if begun.request is not None and self._tracer is not None:
                self._tracer.abandon(begun.request.span)
        except Exception:  # noqa: BLE001 - likewise
            self._told()
        self._forget(begun)

    def _forget(self, begun: _Begun) -> None:
        if begun.request is not None:
            OPEN.set(None)
        if begun.traced:
            unbind_contextvars(_TRACE)

    def _told(self) -> None:
        held_back = self._repeats.due()
        if held_back is not None:
            _log.exception("telemetry failed, the request is answered", earlier_faults=held_back)


def _trace_of(span: "Span") -> str:
    return f"{span.context.trace_id:032x}"
