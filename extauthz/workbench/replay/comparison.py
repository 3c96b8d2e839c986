"""What would change, counted: by old and new answer, and below that by route.

Memory does not grow with the log: routes and kinds of change beyond a bound are counted together.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from extauthz.model import Decision
from extauthz.workbench.replay.outcome import ALLOW, Outcome, outcome_of
from extauthz.workbench.replay.record import Skipped
from extauthz.workbench.replay.routes import OTHER, Route

__all__ = ["Change", "Comparison", "Kind", "RouteChange", "ShadowCount"]

_MAX_CHANGES = 2_000
_MAX_ROUTES = 1_000
_MAX_DOUBTS = 1_000
_MANY = Outcome("", "(other changes)")


class Kind(Enum):
    """What kind of change it is."""

    DENIED = "denied"
    """Was allowed, would be denied."""
    ALLOWED = "allowed"
    """Was denied, would be allowed."""
    OTHER = "other"
    """The same answer, by another rule or for another reason."""

    @classmethod
    def of(cls, old: Outcome, new: Outcome) -> "Kind":
        """The kind of a change."""
        if old.decision == new.decision:
            return cls.OTHER
        return cls.ALLOWED if new.decision == ALLOW else cls.DENIED


@dataclass(slots=True)
class RouteChange:
    """A change, on one route."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Ids of the first decisions, or names of files."""


@dataclass(slots=True)
class Change:
    """All records that were answered with one outcome and would be with another."""

    kind: Kind
    old: Outcome
    new: Outcome
    count: int = 0
    approximate: int = 0
    """How many of them are not certain."""
    routes: dict[Route, RouteChange] = field(default_factory=dict)

    def by_count(self) -> list[tuple[Route, RouteChange]]:
        """The routes, those with the most records first."""
        return sorted(self.routes.items(), key=lambda item: (-item[1].count, item[0]))


@dataclass(slots=True)
class ShadowCount:
    """What a policy or rule in shadow mode would have said."""

    allow: int = 0
    deny: int = 0
    differs: int = 0
    """How often it would not have been the answer that the policies in force give."""
    examples: list[str] = field(default_factory=list)
    """Of those that differ."""


class Comparison:
    """Takes pairs of answers, and counts."""

    def __init__(self, examples: int) -> None:
        """Begin empty; ``examples`` are kept of each change on each route."""
        self._examples = examples
        self._changes: dict[tuple[Outcome, Outcome, Kind], Change] = {}
        self.compared = 0
        self.unchanged = 0
        self.captured = 0
        """Records with the whole request."""
        self.over_rate = 0
        """Records of requests over their rate, compared as if they were not."""
        self.overlooked: Counter[str] = Counter()
        """How many records have a caller whose provider no policy asks for, by provider: nobody, to these policies."""
        self.approximate = 0
        self.doubts: Counter[str] = Counter()
        """How many records are approximate because of what."""
        self.skipped: Counter[Skipped] = Counter()
        self.first_malformed = ""
        """Where the first line was that is no record; empty if there was none."""
        self.shadows: dict[tuple[str, str], ShadowCount] = {}
        """By policy and rule."""

    @property
    def records(self) -> int:
        """All that were looked at."""
        return self.compared + self.skipped.total()

    def skip(self, why: Skipped, where: str) -> None:
        """A line can't be compared."""
        self.skipped[why] += 1
        if why is Skipped.MALFORMED and not self.first_malformed:
            self.first_malformed = where

    def add(self, old: Outcome, decision: Decision, route: Route, name: str, doubts: Iterable[str] = ()) -> None:
        """A request was answered with ``old``, and would be with the decision; ``name`` is how people find it again."""
        new = outcome_of(decision)
        self.compared += 1
        doubtful = False
        for doubt in doubts:
            known = doubt in self.doubts or len(self.doubts) < _MAX_DOUBTS
            self.doubts[doubt if known else doubt.partition(".")[0]] += 1
            doubtful = True
        self.approximate += doubtful
        if old == new:
            self.unchanged += 1
        else:
            self._change(old, new, doubtful=doubtful, route=route, name=name)
        for shadow in decision.shadows:
            told = outcome_of(shadow.verdict)
            count = self.shadows.setdefault((shadow.policy, shadow.rule), ShadowCount())
            if told.decision == ALLOW:
                count.allow += 1
            else:
                count.deny += 1
            if told.decision != new.decision:
                count.differs += 1
                if len(count.examples) < self._examples:
                    count.examples.append(name)

    def _change(self, old: Outcome, new: Outcome, *, doubtful: bool, route: Route, name: str) -> None:
        kind = Kind.of(old, new)
        change = self._changes.get((old, new, kind))
        if change is None:
            if len(self._changes) >= _MAX_CHANGES:
                old = new = _MANY
            change = self._changes.setdefault((old, new, kind), Change(kind, old, new))
        change.count += 1
        change.approximate += doubtful
        if route not in change.routes and len(change.routes) >= _MAX_ROUTES:
            route = OTHER
        here = change.routes.setdefault(route, RouteChange())
        here.count += 1
        if len(here.examples) < self._examples:
            here.examples.append(name)

    def changes(self, kind: Kind) -> list[Change]:
        """The changes of a kind, those of the most records first."""
        found = (change for change in self._changes.values() if change.kind is kind)
        return sorted(found, key=lambda change: (-change.count, change.old, change.new))

    def count(self, kind: Kind) -> int:
        """How many records change in this way."""
        return sum(change.count for change in self._changes.values() if change.kind is kind)

    def as_json(self) -> dict[str, Any]:
        """The comparison for programs."""
        return {
            "records": self.records,
            "compared": self.compared,
            "unchanged": self.unchanged,
            **{kind.value: self.count(kind) for kind in Kind},
            "captured": self.captured,
            "overRate": self.over_rate,
            "overlooked": dict(sorted(self.overlooked.items())),
            "approximate": {"records": self.approximate, "because": dict(sorted(self.doubts.items()))},
            "skipped": {why.value: self.skipped[why] for why in Skipped},
            "changes": [_change_as_json(change) for kind in Kind for change in self.changes(kind)],
            "shadow": [
                {"policy": policy}
                | ({"rule": rule} if rule else {})
                | {
                    "allow": count.allow,
                    "deny": count.deny,
                    "differs": count.differs,
                    "examples": count.examples,
                }
                for (policy, rule), count in sorted(self.shadows.items())
            ],
        }


def _change_as_json(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "from": _outcome_as_json(change.old),
        "to": _outcome_as_json(change.new),
        "count": change.count,
        "approximate": change.approximate,
        "routes": [
            {
                "method": route.method,
                "host": route.host,
                "path": route.path,
                "count": here.count,
                "examples": here.examples,
            }
            for route, here in change.by_count()
        ],
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, str]:
    return {name: value for name, value in outcome._asdict().items() if value}
