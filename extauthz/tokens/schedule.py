"""What a signing key is good for at a time: next, current or previous. It follows from when keys were made, and from nothing else.

A backend only knows which keys there are and when each was made. Every replica computes the rest from that and its clock,
so all agree without talking, a restart changes nothing, and there is no state that could get lost or be restored wrongly::

    made ──────────▶ made + publishDelay ──────────▶ its successor signs ──────────▶ + longest token + skew
          next                             current                        previous                          gone
          published                        published, signs               published                         forgotten

A key with nothing older beside it signs at once: it is the first one, or the ones before it were revoked. Whoever writes
the keys themselves may say what each is for (``KeyVersion.slot``); then that holds, whatever the time.

Replicas whose clocks differ may sign with two keys for a moment. Both are published by then, so nobody is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from extauthz.tokens.ports import KeyVersion

__all__ = ["KeySchedule", "Placed", "Slot", "in_order"]

Slot = Literal["previous", "current", "next", "gone"]
"""gone: no longer published; nothing that it signed can still be good."""

_SPARED = 86_400.0
"""Seconds for which a key that is gone is not destroyed yet: a clock that is wrong by hours destroys nothing."""
_SPARED_ROTATIONS = 24
"""Not for longer than so many rotations, so that keys that live for seconds don't pile up."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A key and what it is good for."""

    version: KeyVersion
    slot: Slot
    signs: float
    """From when on it signs, in seconds since the epoch."""
    replaced: float = math.inf
    """When its successor takes over; infinite if there is none yet."""
    leaves: float = math.inf
    """When it is no longer published."""

    @property
    def published(self) -> bool:
        """Whether verifiers should know it."""
        return self.slot != "gone"


@dataclass(frozen=True, slots=True)
class KeySchedule:
    """When keys take over from each other. All times are in seconds.

    Raises:
        ValueError: The times can't be right together.
    """

    rotate_every: float
    """From the making of one key to that of the next."""
    publish_delay: float
    """For how long a key is published before it signs: until every verifier has seen it."""
    max_token_lifetime: float
    """The longest that a token lives."""
    skew: float
    """How far the clocks of replicas and verifiers may differ."""
    algorithm: str = "ES256"
    """Of new keys. Where it differs from that of the newest key, a new one is due."""

    def __post_init__(self) -> None:
        """Refuse times with which a token could be refused for its key."""
        times = (self.rotate_every, self.publish_delay, self.max_token_lifetime, self.skew)
        if not all(math.isfinite(time) and time >= 0 for time in times):
            message = "a time of the schedule is negative or infinite"
            raise ValueError(message)
        if self.rotate_every <= self.publish_delay:
            message = "a key would be replaced before it signs: rotate_every must be above publish_delay"
            raise ValueError(message)

    def place(self, versions: Sequence[KeyVersion], now: float) -> tuple[Placed, ...]:
        """What each key is good for, oldest first. If there are any, exactly one of them is current."""
        if any(version.slot for version in versions):
            return tuple(Placed(version, _said(version), version.created) for version in versions)
        ordered = in_order(versions)
        signs = [version.created + (self.publish_delay if index else 0.0) for index, version in enumerate(ordered)]
        # A clock that was set back before the first key was made: that key is the best there is.
        current = max((index for index, time in enumerate(signs) if time <= now), default=0)
        placed = []
        for index, version in enumerate(ordered):
            replaced = signs[index + 1] if index + 1 < len(signs) else math.inf
            leaves = replaced + self.max_token_lifetime + self.skew
            slot: Slot = "next" if index > current else "current"
            if index < current:
                slot = "previous" if now < leaves else "gone"
            placed.append(Placed(version, slot, signs[index], replaced, leaves))
        return tuple(placed)

    def current(self, versions: Sequence[KeyVersion], now: float) -> KeyVersion | None:
        """The key that signs; None if there is none."""
        return next((placed.version for placed in self.place(versions, now) if placed.slot == "current"), None)

    def due_at(self, versions: Sequence[KeyVersion]) -> float:
        """When the next key should be made, in seconds since the epoch; infinite if somebody else makes them."""
        if not versions:
            return -math.inf
        if any(version.slot for version in versions):
            return math.inf
        newest = in_order(versions)[-1]
        # A change of algorithm is a rotation: what was signed with the old one is good until its time is up.
        return newest.created + (self.rotate_every if newest.algorithm == self.algorithm else 0.0)

    def due(self, versions: Sequence[KeyVersion], now: float) -> bool:
        """Whether a new key should be made now."""
        return now >= self.due_at(versions)

    def destroyable(self, versions: Sequence[KeyVersion], now: float) -> KeyVersion | None:
        """The newest key that may be destroyed with all before it; None if there is none."""
        spared = min(_SPARED, _SPARED_ROTATIONS * self.rotate_every)
        gone = [placed for placed in self.place(versions, now) if placed.slot == "gone"]
        return next((placed.version for placed in reversed(gone) if now >= placed.leaves + spared), None)


def in_order(versions: Sequence[KeyVersion]) -> list[KeyVersion]:
    """Oldest first; the name decides between two of one moment, so that all replicas see one order."""
    return sorted(versions, key=lambda version: (version.created, version.kid))


def _said(version: KeyVersion) -> Slot:
    """The slot that whoever writes the keys has said. A word that is not known here is published and does not sign."""
    return "current" if version.slot == "current" else "next" if version.slot == "next" else "previous"
