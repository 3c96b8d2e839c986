"""What the metrics show of what counts rates: the limiter in memory, and the store that all replicas share."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["LimiterCounts", "LimiterSeries", "StoreCounts", "StoreSeries"]


class LimiterCounts(Protocol):
    """What the metrics show of the limiter in memory."""

    @property
    def keys(self) -> int:
        """Callers that are counted now."""
        ...

    @property
    def forgotten(self) -> int:
        """Callers that were forgotten before they were idle, for lack of room."""
        ...

    @property
    def refused(self) -> int:
        """New callers that were denied, for lack of room."""
        ...


class StoreCounts(Protocol):
    """What the metrics show of a store that counts rates for all replicas."""

    @property
    def available(self) -> bool:
        """Whether it is asked now."""
        ...

    @property
    def replicas(self) -> int:
        """How many replicas it knew of last; 0: it was never heard."""
        ...

    @property
    def asked(self) -> int:
        """Questions to it."""
        ...

    @property
    def failed(self) -> int:
        """Charges that had no answer in time."""
        ...

    @property
    def leased(self) -> int:
        """Charges that were answered from a lease."""
        ...

    @property
    def local(self) -> int:
        """Charges that were counted here, for want of it."""
        ...

    @property
    def denied(self) -> int:
        """Charges that were denied, for want of it."""
        ...


class LimiterSeries:
    """Makes the series of the memory limiter out of its plain counts."""

    def __init__(self, counts: Callable[[], LimiterCounts]) -> None:
        """Ask for the counts whenever Prometheus asks us."""
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        counts = self._counts()
        yield GaugeMetricFamily("extauthz_limiter_keys", "Callers whose rates are counted in memory.", counts.keys)
        yield CounterMetricFamily(
            "extauthz_limiter_forgotten",
            "Callers whose count was forgotten before they were idle, for lack of room (limits.maxKeys).",
            counts.forgotten,
        )
        yield CounterMetricFamily(
            "extauthz_limiter_refused",
            "New callers who were denied because no count could be forgotten.",
            counts.refused,
        )


class StoreSeries:
    """Makes the series of the shared limiter out of its plain counts."""

    def __init__(self, counts: Callable[[], StoreCounts]) -> None:
        """Ask for the counts whenever Prometheus asks us."""
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        counts = self._counts()
        yield GaugeMetricFamily(
            "extauthz_store_available",
            "1 while the store that counts rates is asked, 0 while it counts as down.",
            counts.available,
        )
        yield GaugeMetricFamily(
            "extauthz_store_replicas", "Replicas that the store knew of last, this one included.", counts.replicas
        )
        yield CounterMetricFamily("extauthz_store_asked", "Questions to the store.", counts.asked)
        yield CounterMetricFamily(
            "extauthz_store_failed", "Charges without an answer of the store in time.", counts.failed
        )
        without = CounterMetricFamily(
            "extauthz_store_unasked",
            "Charges settled without its answer: leased (from permits taken ahead), local and denied (whenStoreFails).",
            labels=["outcome"],
        )
        for outcome, count in (("leased", counts.leased), ("local", counts.local), ("denied", counts.denied)):
            without.add_metric([outcome], count)
        yield without
