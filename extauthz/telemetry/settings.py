"""What the composition root tells this room, as values that any caller can build without the configuration."""

from dataclasses import dataclass

from extauthz.capture import CredentialPlaces
from extauthz.telemetry.files import Rotation

__all__ = ["DecisionSettings", "Rotation", "TraceSettings"]


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans go."""

    exporter: str | None = None
    """``none``, ``otlp`` or ``console``; None: the environment variable OTEL_TRACES_EXPORTER counts, and without it there
    are no traces."""
    denials: float = 0.0
    """Which share of the denials has a span although its parent is not sampled, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """Where decision records go."""

    sink: str = "none"
    """``none``, ``stdout``, ``otlp``, or the path of a file that lines are appended to."""
    rotation: Rotation | None = None
    """When a file is put aside; None: others do that, or nobody."""
    keep: bool = False
    """Nothing that was taken is dropped while the process lives; ``Telemetry.log`` says when there is no room."""
    capture: CredentialPlaces | None = None
    """With it each record holds the request too, and this is where credentials are that are left out of it; None: none
    does."""
    allow: float = 1.0
    """Which share of the decisions to allow is recorded, from 0 to 1."""
    deny: float = 1.0
    """The same of the decisions to deny."""
    omit: tuple[str, ...] = ()
    """Fields that no record has."""
