"""What the metrics show of Vault or OpenBao."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["VaultCounts", "VaultSeries"]


class VaultCounts(Protocol):
    """How Vault is doing, and what was asked of it."""

    @property
    def available(self) -> bool:
        """Whether it is asked now, and knows who we are."""
        ...

    @property
    def token_seconds(self) -> float | None:
        """For how long our token lasts; None if there is none, or it never ends."""
        ...

    @property
    def skew(self) -> float:
        """How far its clock is ahead of ours, in seconds."""
        ...

    @property
    def questions(self) -> int:
        """What was to be asked."""
        ...

    @property
    def failures(self) -> int:
        """Questions without an answer, those that were not even asked included."""
        ...

    @property
    def logins(self) -> int:
        """Logins that worked."""
        ...

    @property
    def renewals(self) -> int:
        """Renewals of the token that worked."""
        ...

    @property
    def login_failures(self) -> int:
        """Logins and renewals that did not work."""
        ...


class VaultSeries:
    """Makes the series out of the plain counts. Satisfies prometheus_client's ``Collector``."""

    def __init__(self, counts: Callable[[], VaultCounts | None], unrevoked: Callable[[], int]) -> None:
        """Ask whenever Prometheus asks us. ``counts`` gives None if there is no Vault, ``unrevoked`` a number of leases."""
        self._counts = counts
        self._unrevoked = unrevoked

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        counts = self._counts()
        if counts is None:
            return
        yield GaugeMetricFamily(
            "extauthz_vault_available",
            "1 while Vault is asked and knows us, 0 while it is sealed, down, or refuses the login.",
            counts.available,
        )
        if counts.token_seconds is not None:
            yield GaugeMetricFamily(
                "extauthz_vault_token_ttl_seconds",
                "For how long our token of Vault lasts unless it is renewed; none if it never ends.",
                counts.token_seconds,
            )
        yield GaugeMetricFamily(
            "extauthz_vault_clock_skew_seconds", "How far Vault's clock is ahead of ours.", counts.skew
        )
        yield CounterMetricFamily("extauthz_vault_questions", "Questions to Vault.", counts.questions)
        yield CounterMetricFamily(
            "extauthz_vault_failed",
            "Questions without an answer, those that were not asked while Vault counts as down included.",
            counts.failures,
        )
        logins = CounterMetricFamily(
            "extauthz_vault_logins",
            "What was done to stay logged in: login, renewal, failed (either of them).",
            labels=["outcome"],
        )
        done = (("login", counts.logins), ("renewal", counts.renewals), ("failed", counts.login_failures))
        for outcome, number in done:
            logins.add_metric([outcome], number)
        yield logins
        yield GaugeMetricFamily(
            "extauthz_vault_leases_unrevoked",
            "Leases that nobody needs any more and Vault has not ended yet.",
            self._unrevoked(),
        )
