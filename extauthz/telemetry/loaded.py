"""Counters whose labels are names of loaded policies: made when a set comes into force, never by a request.

Looking a child up by its labels costs as much as counting, so children are made beforehand. A name that left stays until
the set after the next: Prometheus sees its last counts, Checks that began before are counted, and what was once loaded
does not pile up. Of unknown names nothing is counted.
"""

from collections.abc import Sequence

from prometheus_client import Counter

__all__ = ["LoadedCounter"]

Names = tuple[str, ...]


class LoadedCounter:
    """A counter with labels of policies, and one of outcomes, which comes last."""

    def __init__(self, counter: Counter, outcomes: Sequence[str]) -> None:
        """Begin without names."""
        self._counter = counter
        self._outcomes = tuple(outcomes)
        self._children: dict[Names, dict[str, Counter]] = {}
        self._names = frozenset[Names]()

    def load(self, names: frozenset[Names]) -> None:
        """Show these names; to be called when a set of policies comes into force."""
        kept = names | self._names
        for name in self._children.keys() - kept:
            del self._children[name]
            for outcome in self._outcomes:
                self._counter.remove(*name, outcome)
        for name in kept - self._children.keys():
            self._children[name] = {outcome: self._counter.labels(*name, outcome) for outcome in self._outcomes}
        self._names = names

    def count(self, name: Names, outcome: str) -> None:
        """One more."""
        children = self._children.get(name)
        if children is not None:
            children[outcome].inc()
