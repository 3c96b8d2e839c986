"""What this process knows of revocations: asked at each use of an own token, so it is in memory and answers at once.

A token has five marks by which it can be revoked. All marks of all revocations are in one set, whatever their kind, and the
hot path asks that set alone: a token that shares no word with it stands. Only one that does is looked at closer, by kind
and, for a subject and a client, by when it was granted: what they are given afterwards is good. The others mean one token,
one grant or one key, which are never made again, so all that has the mark is meant.

The list is believed for a time after it was read (``confirmed``). Later, and before it was ever read, nothing can be said
about a token of ours, and nothing is: a revocation that somebody was promised may be missing.

An entry is forgotten once all that it means has expired, never earlier; so the list is as long as what was revoked within
the longest life of a token. Forgetting goes by the minute in which entries end, and in parts, so it costs no moment much.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from extauthz.model import Deny, Reason
from extauthz.tokens.records import Revocation, RevocationKind

__all__ = ["Marks", "RevocationList"]

Marks = tuple[str, str, str, str, str]
"""Of one token: its ``jti``, ``sub``, ``client_id``, ``sid`` and ``kid``; empty where it has none."""

_KINDS: Final[tuple[RevocationKind, ...]] = ("token", "subject", "client", "family", "key")
"""In the order of the marks."""
_UNTIL_THEN: Final = frozenset({"subject", "client"})
"""The kinds that mean only what was issued before."""
_SECONDS: Final = 60.0
_SET_BACK: Final = 5.0
"""Seconds that the clock may be set back without a doubt about when the list was read."""

_Entry = tuple[float, float]
"""``before`` and ``until``."""


class RevocationList:
    """Belongs to one event loop. Times are seconds since the epoch."""

    def __init__(self, *, max_staleness: float) -> None:
        """Know nothing yet; ``max_staleness`` is for how many seconds after it was read the list is believed."""
        self._max_staleness = max_staleness
        self._entries: dict[tuple[RevocationKind, str], _Entry] = {}
        self._words: set[str] = set()
        self._ends: dict[float, list[tuple[RevocationKind, str]]] = {}
        self._held: Counter[RevocationKind] = Counter()
        self._since, self._until = math.inf, -math.inf
        self.refused = 0
        """Tokens that were refused because they are revoked."""

    def __len__(self) -> int:
        """How many revocations there are."""
        return len(self._entries)

    @property
    def held(self) -> Mapping[str, int]:
        """How many there are of each kind."""
        return {kind: self._held[kind] for kind in _KINDS}

    def doubts(self, marks: Marks, now: float) -> bool:
        """Whether a token may be refused: it shares a word with something that is revoked, or the list is too old."""
        return not self._words.isdisjoint(marks) or not self._since <= now < self._until

    def refusal(self, marks: Marks, granted: float, now: float) -> Deny | None:
        """Why a token that verifies is refused; None if it stands."""
        for kind, mark in zip(_KINDS, marks, strict=True):
            entry = self._entries.get((kind, mark))
            if entry is not None and (kind not in _UNTIL_THEN or granted <= entry[0]):
                self.refused += 1
                return Deny(Reason.TOKEN_REVOKED, _SENTENCES[kind])
        if not self._since <= now < self._until:
            return Deny(Reason.STORE_UNAVAILABLE, self._ignorance(now), retry_after=1)
        return None

    def _ignorance(self, now: float) -> str:
        if self._until == -math.inf:
            return "the revocations have not been read yet"
        age = now - (self._until - self._max_staleness)
        return f"the revocations were read {age:.0f} s ago, which is longer than they are believed"

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Put revocations in force; of what is revoked already, whichever means more counts."""
        for revocation in revocations:
            # A token that lacks a mark is not meant by a revocation that names none.
            if revocation.value:
                self._add(revocation)

    def _add(self, revocation: Revocation) -> None:
        what = (revocation.kind, revocation.value)
        before, until = self._entries.get(what, (-math.inf, -math.inf))
        if until == -math.inf:
            self._held[revocation.kind] += 1
            self._words.add(revocation.value)
        if revocation.until > until:
            self._ends.setdefault(_minute(revocation.until), []).append(what)
        self._entries[what] = (max(before, revocation.before), max(until, revocation.until))

    def confirmed(self, at: float) -> None:
        """Note that all that was revoked until a time is in the list."""
        self._since, self._until = at - _SET_BACK, at + self._max_staleness

    def forget(self, now: float, *, most: int) -> int:
        """Forget what has ended, ``most`` entries at a time; gives how many that were."""
        forgotten = 0
        for minute in sorted(minute for minute in self._ends if minute < _minute(now)):
            ended = self._ends[minute]
            while ended and forgotten < most:
                forgotten += self._forget(ended.pop(), now)
            if ended:
                break
            del self._ends[minute]
        return forgotten

    def _forget(self, what: tuple[RevocationKind, str], now: float) -> bool:
        entry = self._entries.get(what)
        # It may have got a later end since.
        if entry is None or entry[1] > now:
            return False
        del self._entries[what]
        kind, value = what
        self._held[kind] -= 1
        if not any((other, value) in self._entries for other in _KINDS):
            self._words.discard(value)
        return True

    def everything(self) -> Sequence[Revocation]:
        """All revocations that are in force here."""
        return [Revocation(kind, value, before, until) for (kind, value), (before, until) in self._entries.items()]


def _minute(moment: float) -> float:
    """The minute that a moment is in; a revocation without an end is in one that never comes."""
    return moment // _SECONDS if math.isfinite(moment) else math.inf


_SENTENCES: Final[Mapping[RevocationKind, str]] = {
    "token": "it was revoked itself",
    "subject": "what its subject was given until some time after it was granted is revoked",
    "client": "what its client was given until some time after it was granted is revoked",
    "family": "its session was ended",
    "key": "the key that signed it is revoked",
}
