"""What the metrics show of who is asking: the providers of identities, and the tokens that were verified before."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["CacheCounts", "ProviderSeries", "ProviderState", "TokenCacheSeries"]

_log = structlog.get_logger(__name__)


class ProviderState(Protocol):
    """What the metrics show of a provider of identities."""

    @property
    def name(self) -> str:
        """Its configured name."""
        ...

    @property
    def usable(self) -> bool:
        """Whether it can vouch for callers now."""
        ...

    @property
    def age_seconds(self) -> float | None:
        """How long ago its keys were fetched; None if they never were."""
        ...


class CacheCounts(Protocol):
    """What the metrics show of the cache of verified tokens."""

    @property
    def hits(self) -> int:
        """Tokens that were remembered."""
        ...

    @property
    def misses(self) -> int:
        """Tokens that were not."""
        ...

    @property
    def stale(self) -> int:
        """Tokens that were remembered, but not validly any more."""
        ...

    @property
    def evicted(self) -> int:
        """Entries that left before their end, for lack of room."""
        ...

    @property
    def entries(self) -> int:
        """How many there are now."""
        ...

    @property
    def bytes(self) -> int:
        """About how much memory they take."""
        ...


class ProviderSeries:
    """Makes the series of the providers out of their states. Satisfies prometheus_client's ``Collector``."""

    def __init__(self, states: Callable[[], Iterable[ProviderState]]) -> None:
        """Ask for the states whenever Prometheus asks us."""
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        usable = GaugeMetricFamily(
            "extauthz_provider_usable", "1 if the provider can vouch for callers now, else 0.", labels=["provider"]
        )
        age = GaugeMetricFamily(
            "extauthz_jwks_age_seconds",
            "Time since the provider's keys were last fetched or read.",
            labels=["provider"],
        )
        try:
            for state in self._states():
                usable.add_metric([state.name], float(state.usable))
                if state.age_seconds is not None:
                    age.add_metric([state.name], state.age_seconds)
        except Exception:  # noqa: BLE001 - one bad source must not take the page from all the others
            _log.exception("the providers could not be shown in the metrics")
        yield usable
        yield age


class TokenCacheSeries:
    """Makes the series of the token cache out of its plain counts: a warm Check pays for no counter."""

    def __init__(self, counts: Callable[[], CacheCounts]) -> None:
        """Ask for the counts whenever Prometheus asks us."""
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        counts = self._counts()
        lookups = CounterMetricFamily(
            "extauthz_identity_cache",
            "Look-ups of tokens among those verified before: hit, miss, stale (too old, expired, or its key has gone).",
            labels=["outcome"],
        )
        for outcome, count in (("hit", counts.hits), ("miss", counts.misses), ("stale", counts.stale)):
            lookups.add_metric([outcome], count)
        yield lookups
        yield CounterMetricFamily(
            "extauthz_identity_cache_evicted",
            "Verified tokens that were forgotten for lack of room: raise tokenCache if it grows.",
            counts.evicted,
        )
        yield GaugeMetricFamily("extauthz_identity_cache_entries", "Verified tokens remembered.", counts.entries)
        yield GaugeMetricFamily(
            "extauthz_identity_cache_bytes", "Estimate of the memory that verified tokens take.", counts.bytes
        )
