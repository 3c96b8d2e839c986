"""The request to the http listener that is being answered, for whatever learns something about it on the way.

It goes with the task of the request, so nobody has to hand it on. Without a span there is none, and nothing is kept.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extauthz.telemetry.taken import Waited

if TYPE_CHECKING:
    from extauthz.telemetry.spans import Span

__all__ = ["OPEN", "OpenRequest"]

_MOST: Final = 32
"""Waits that are kept of one request."""


@dataclass(eq=False, slots=True)
class OpenRequest:
    """What is known of it until it is answered."""

    span: "Span"
    began: float
    """By the clock of whoever measures waits."""
    waits: list[Waited] = field(default_factory=list)
    words: dict[str, str | int] = field(default_factory=dict)
    """Attributes of its span, from fixed tables."""

    def waited(self, what: str, began: float, ended: float) -> None:
        """Note that it waited for something from then to then."""
        if len(self.waits) < _MOST:
            self.waits.append(Waited(what, "", max(began - self.began, 0.0), ended - began))


OPEN: Final[ContextVar[OpenRequest | None]] = ContextVar("extauthz_open_request", default=None)
"""None: it has no span, or there is no request."""
