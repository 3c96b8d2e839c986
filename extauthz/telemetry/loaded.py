"""Counters whose labels are names of loaded policies: made when a set comes into force, never by a request.

A name that left stays until the set after the next: Prometheus sees its last counts, Checks that began before are counted,
and what was once loaded does not pile up. Of unknown names nothing is counted.

Only the thread that answers Checks counts, so a count is a plain number, which is read when Prometheus asks.
"""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, Metric

__all__ = ["LoadedCounter"]

Names = tuple[str, ...]


class LoadedCounter:
    """A counter with labels of policies, and one of outcomes, which comes last. Satisfies prometheus_client's ``Collector``."""

    def __init__(self, name: str, text: str, labels: Sequence[str], outcomes: Sequence[str]) -> None:
        """Begin without names; ``labels`` are those of the names and of the outcome."""
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._outcomes = tuple(outcomes)
        self._counts: dict[Names, dict[str, int]] = {}
        self._names = frozenset[Names]()

    def load(self, names: frozenset[Names]) -> None:
        """Show these names; to be called when a set of policies comes into force."""
        kept = names | self._names
        # In one step, as the thread that answers Prometheus may be reading.
        self._counts = {name: self._counts.get(name) or dict.fromkeys(self._outcomes, 0) for name in sorted(kept)}
        self._names = names

    def count(self, name: Names, outcome: str) -> None:
        """One more."""
        counts = self._counts.get(name)
        if counts is not None:
            counts[outcome] += 1

    def collect(self) -> Iterator[Metric]:
        """The series."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for name, counts in self._counts.items():
            for outcome, count in counts.items():
                family.add_metric([*name, outcome], count)
        yield family
