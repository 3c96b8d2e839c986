"""What the metrics show of the audit log."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

__all__ = ["AuditCounts", "AuditSeries"]


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """How the log is doing."""

    written: int
    failed: int
    """Events that could not be written; whether they happened all the same is for ``whenItFails`` to say."""


class AuditSeries:
    """Makes the series out of the plain counts. Satisfies prometheus_client's ``Collector``."""

    def __init__(self, counts: Callable[[], AuditCounts]) -> None:
        """Ask for the counts whenever Prometheus asks us."""
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        counts = self._counts()
        told = CounterMetricFamily(
            "extauthz_audit", "Events for the audit log: written, failed (it could not be written).", labels=["outcome"]
        )
        told.add_metric(["written"], counts.written)
        told.add_metric(["failed"], counts.failed)
        yield told
