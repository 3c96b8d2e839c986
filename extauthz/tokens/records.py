"""What the token service asks a store to keep: families of refresh tokens, and revocations.

A *family* is all refresh tokens that follow from one grant, of which exactly one is good. A refresh token is never kept:
the store has its SHA-256 digest, and what only the holder of the token before it can open (``sealed``).

A *revocation* says which access tokens are refused although they verify, and until when anybody has to remember that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

__all__ = ["Family", "Outcome", "Revocation", "RevocationKind", "RevocationPage", "Rotation", "Succession"]


@dataclass(frozen=True, slots=True)
class Family:
    """The refresh tokens of one grant."""

    id: str
    """128 random bits; its access tokens carry it as ``sid``."""
    key: bytes = field(repr=False)
    """What tags its refresh tokens: tells a token that was once given out from one that never was. It makes none."""
    client_id: str
    subject: str
    grant: str
    """What its access tokens may say, as JSON that only ``extauthz.tokens`` reads."""
    created: float
    """Seconds since the epoch, as all times here."""
    expires: float
    """When it ends whatever happens."""
    idle_until: float
    """When it ends unless it is used before."""
    current: bytes = field(repr=False)
    """The digest of the one refresh token that is good."""
    previous: bytes = field(default=b"", repr=False)
    """The digest of the one before it."""
    sealed: bytes = field(default=b"", repr=False)
    """The current token, encrypted so that only who has the previous one can open it."""
    rotated: float = 0.0
    """When the current one took the place of the previous one."""
    generation: int = 0
    """How often that happened."""
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Succession:
    """A refresh token that is presented, and the one that is to follow it."""

    presented: bytes = field(repr=False)
    """A digest."""
    successor: bytes = field(repr=False)
    """The digest of the one that takes the place of the current one."""
    sealed: bytes = field(repr=False)
    """The successor, encrypted so that only who has the presented one can open it."""
    now: float
    grace: float
    """For how many seconds a token that was replaced may be presented again; 0: not at all."""
    idle_until: float
    """When the family ends unless the successor is used before."""


class Outcome(Enum):
    """What became of a refresh token that was presented."""

    ROTATED = "rotated"
    """It was the current one, and its successor is the current one now."""
    REPEATED = "repeated"
    """It was replaced a moment ago: the client did not get the answer. ``sealed`` holds the same answer."""
    REUSED = "reused"
    """It was replaced before: somebody else has it too. The family is revoked now."""
    ENDED = "ended"
    """Its family has expired or was revoked before."""
    UNKNOWN = "unknown"
    """There is no such family."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The answer of a store to a presented refresh token."""

    outcome: Outcome
    family: Family | None = None
    """As it is afterwards; None if there is none."""


RevocationKind = Literal["token", "subject", "client", "family", "key"]
"""What ``value`` is: a ``jti``, a ``sub``, a ``client_id``, a ``sid``, a ``kid``."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Access tokens of ours that are refused from now on."""

    kind: RevocationKind
    value: str
    before: float
    """Only what was issued (``iat``) at this time or earlier is meant, in seconds since the epoch."""
    until: float
    """When all that is meant has expired, clock skew included: then it may be forgotten, never earlier."""


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """Revocations since a place in the order in which they were acknowledged."""

    epoch: str
    """Made at random when the store was: another one means that the store has lost what it kept."""
    cursor: str
    """Where to go on; opaque."""
    revocations: Sequence[Revocation]
