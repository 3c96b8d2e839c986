"""Where the time of one Check went, as values: what ``phases`` finds, and records, spans and ``top`` tell."""

from typing import Final

from extauthz.model import value

__all__ = ["PHASES", "Taken", "Waited"]

PHASES: Final = ("request", "identity", "policy", "limit")


@value
class Waited:
    """Something that a Check waited for."""

    what: str
    """``keys``, ``introspection``, ``directory`` or ``store``."""
    provider: str
    """The provider that it was for; empty for the store."""
    began: float
    """Seconds after the Check began."""
    seconds: float


@value
class Taken:
    """Where the time of one Check went."""

    seconds: tuple[float, float, float, float]
    """Of each of ``PHASES``; what was waited for is in them."""
    waits: tuple[Waited, ...] = ()
