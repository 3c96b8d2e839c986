"""Which rules the cases reach, and which nobody tests.

A rule is reached by a case that it matches, whether it decided or not: it allowed, it denied, or another one was before
it. That is asked of the explanation, so it costs as much as all rules together for each case.
"""

from dataclasses import dataclass

from extauthz.errors import Position
from extauthz.model import Deny
from extauthz.policy import Snapshot
from extauthz.workbench.suites.running import Outcome

__all__ = ["Coverage", "RuleReached"]


@dataclass(frozen=True, slots=True)
class RuleReached:
    """A rule, and how many cases reached it."""

    policy: str
    rule: str
    where: Position
    cases: int


class Coverage:
    """Counts the cases that reach the rules of a set of policies."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Begin with no case."""
        self._snapshot = snapshot
        self._reached: dict[tuple[str, str], int] = {}
        self._places: dict[tuple[str, str], Position] = {}
        for policy in (*snapshot.policies, *snapshot.shadows):
            for rule in (*policy.deny, *policy.rules):
                self._reached[policy.name, rule.name] = 0
                self._places[policy.name, rule.name] = rule.where

    def count(self, outcome: Outcome) -> None:
        """Take a case into account."""
        decision = outcome.decision
        request, found = decision.request, decision.found
        if request is None or isinstance(found, Deny):
            return
        selection = self._snapshot.select(request)
        explained = self._snapshot.explain(request, selection, found, decision.peer)
        for policy in explained.policies:
            if policy.covers:
                for rule in (*policy.deny, *policy.rules):
                    self._reached[rule.policy, rule.rule] += rule.matched

    def rules(self) -> list[RuleReached]:
        """Every rule, sorted by place."""
        found = [RuleReached(*name, self._places[name], cases) for name, cases in self._reached.items()]
        return sorted(found, key=lambda rule: (rule.where, rule.policy, rule.rule))

    @property
    def percent(self) -> int:
        """How many of the rules are reached, in percent, rounded down; 100 if there is none."""
        if not self._reached:
            return 100
        return 100 * sum(cases > 0 for cases in self._reached.values()) // len(self._reached)
