"""The seam between a transport and what answers a Check: bytes in, bytes out.

A transport owns sockets, HTTP/2 and connections; the handler owns everything that a CheckRequest means. What crosses
the seam is the undecoded message and the little that only the transport knows about the call. The message stays
bytes so that garbage becomes a denial that the handler writes, not an RPC error that a transport makes up; and the
answer may come without an await, because a warm Check needs none.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from extauthz.model import value

__all__ = ["CHECK_METHOD", "CHECK_SERVICE", "Call", "Handler", "time_left"]

CHECK_SERVICE = "envoy.service.auth.v3.Authorization"
CHECK_METHOD = f"/{CHECK_SERVICE}/Check"

_FOREVER = 1e9
"""Seconds. Without a deadline some grpc versions give 9.2e18 instead of None; no proxy waits thirty years."""


@value
class Call:
    """What a transport knows of one call."""

    metadata: Sequence[tuple[str, str | bytes]]
    """In order of arrival, names in lower case; ``-bin`` values are bytes."""
    time_remaining: float | None
    """Seconds until the caller gives up; None if it never does. May be zero or less."""


class Handler(Protocol):
    """Answers one Check."""

    def __call__(self, message: bytes, call: Call) -> bytes | Awaitable[bytes]:
        """Decide a serialised CheckRequest and give the serialised CheckResponse.

        Never raises, and never gives an empty answer: Envoy reads zero bytes as an allow. The answer is bytes at once
        where the decision needed no I/O. The awaitable may be cancelled: then nobody waits for the answer any more.
        """


def time_left(seconds: float | None) -> float | None:
    """Seconds until the deadline as ``Call`` has them: None where the transport says, in its way, that there is none."""
    return seconds if seconds is not None and seconds < _FOREVER else None
