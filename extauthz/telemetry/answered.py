"""How many Checks were answered, why, and how long that took: counted for every Check, so counted cheaply.

Only the thread that answers Checks counts: plain numbers are enough, which are read when Prometheus asks. A page that is
read between two numbers of one Check is off by that Check, and right again on the next one.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily, Metric

from extauthz.model import Reason

__all__ = ["AnsweredChecks"]

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds. A warm Check takes a fraction of a millisecond; one that waits for keys is cut off at its deadline."""
_BOUNDS = (*map(str, _BUCKETS), "+Inf")
_RESULTS = ("allow", "deny")


class _Times:
    """A histogram: how many there were in each bucket, not cumulated, and the sum of all."""

    __slots__ = ("buckets", "exemplars", "total")

    def __init__(self) -> None:
        self.buckets = [0] * len(_BOUNDS)
        self.total = 0.0
        self.exemplars: list[Exemplar | None] = [None] * len(_BOUNDS)


class AnsweredChecks:
    """The counts by reason and the times by result. Satisfies prometheus_client's ``Collector``."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Begin with nothing; ``now``, in seconds since the epoch, dates exemplars."""
        self._counts = {reason.word: 0 for reason in Reason}
        self._times = {result: _Times() for result in _RESULTS}
        self._times_of = {reason.word: self._times[_result(reason)] for reason in Reason}
        self._now = now

    def count(self, reason: Reason, seconds: float, trace: str = "") -> None:
        """A Check was answered. ``trace`` is the trace id, in hexadecimal, of one whose span is recorded."""
        word = reason.word
        self._counts[word] += 1
        times = self._times_of[word]
        bucket = bisect_left(_BUCKETS, seconds)
        times.buckets[bucket] += 1
        times.total += seconds
        if trace:
            times.exemplars[bucket] = Exemplar({"trace_id": trace}, seconds, self._now())

    def collect(self) -> Iterator[Metric]:
        """The series."""
        checks = CounterMetricFamily(
            "extauthz_check", "Checks answered: allow or deny, and why (docs/reasons.md).", labels=("result", "reason")
        )
        for reason in Reason:
            checks.add_metric((_result(reason), reason.word), self._counts[reason.word])
        yield checks
        seconds = HistogramMetricFamily(
            "extauthz_check_duration_seconds", "Time from a Check's arrival to its answer.", labels=("result",)
        )
        for result, times in self._times.items():
            reached = 0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for bound, count, exemplar in zip(_BOUNDS, times.buckets, times.exemplars, strict=True):
                reached += count
                buckets.append((bound, reached) if exemplar is None else (bound, reached, exemplar))
            seconds.add_metric((result,), buckets, times.total)
        yield seconds


def _result(reason: Reason) -> str:
    return "allow" if reason is Reason.ALLOWED else "deny"
