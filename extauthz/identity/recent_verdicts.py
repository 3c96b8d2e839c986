"""Verdicts of the last seconds: refusals that need not be asked for again, and what a caller who waited comes back for.

Bounded by a number of entries, which leave in order of arrival; a token whose verdict left too early is asked about again
or refused, never believed.
"""

from collections import OrderedDict
from dataclasses import dataclass

from extauthz.model import Deny, Identity

__all__ = ["HAND_OVER", "RecentVerdicts"]

HAND_OVER = 1.0
"""Seconds in which those who waited for a verdict can have it. They come at once; this is for a process under load."""


@dataclass(frozen=True, slots=True)
class _Held:
    verdict: Identity | Deny
    since: float
    until: float


class RecentVerdicts:
    """Verdicts by the digest of a token. Belongs to one event loop; times are epoch seconds."""

    def __init__(self, max_entries: int) -> None:
        """Begin empty."""
        self._max_entries = max_entries
        self._held: OrderedDict[bytes, _Held] = OrderedDict()

    def find(self, digest: bytes, now: float, *, waited: bool) -> Identity | Deny | None:
        """The verdict on a token, if it still holds, or if the asker waited for it. A clock set back misses."""
        held = self._held.get(digest)
        if held is None:
            return None
        until = max(held.until, held.since + HAND_OVER) if waited else held.until
        return held.verdict if held.since <= now < until else None

    def keep(self, digest: bytes, verdict: Identity | Deny, now: float, *, hold: float) -> None:
        """Hold a verdict for some seconds; 0: only for those who wait for it."""
        self._held[digest] = _Held(verdict, now, now + hold)
        self._held.move_to_end(digest)
        if len(self._held) > self._max_entries:
            self._held.popitem(last=False)
