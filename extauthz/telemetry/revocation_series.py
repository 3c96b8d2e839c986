"""What the metrics show of revocations: how many are in force, how old they are, what they refused."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["RevocationCounts", "RevocationSeries"]


@dataclass(frozen=True, slots=True)
class RevocationCounts:
    """How revocations are doing in this process."""

    held: Mapping[str, int]
    """Those in force, by what they name: token, subject, client, family, key."""
    age: float | None
    """Seconds since they were read; None if they never were."""
    refused: int
    """Tokens that were refused because they are revoked."""
    losses: int
    """How often the store had lost what it kept."""


class RevocationSeries:
    """Makes the series out of the plain counts. Satisfies prometheus_client's ``Collector``."""

    def __init__(self, counts: Callable[[], RevocationCounts]) -> None:
        """Ask for the counts whenever Prometheus asks us."""
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        counts = self._counts()
        held = GaugeMetricFamily("extauthz_revocations", "Revocations in force, by what they name.", labels=["kind"])
        for kind, number in counts.held.items():
            held.add_metric([kind], number)
        yield held
        if counts.age is not None:
            yield GaugeMetricFamily(
                "extauthz_revocations_age_seconds",
                "Seconds since the revocations were read from the store.",
                value=counts.age,
            )
        yield CounterMetricFamily(
            "extauthz_revocations_refused",
            "Tokens of the own token service that were refused because they are revoked.",
            value=counts.refused,
        )
        yield CounterMetricFamily(
            "extauthz_revocations_lost",
            "How often the store was found to have lost the records that it kept.",
            value=counts.losses,
        )
