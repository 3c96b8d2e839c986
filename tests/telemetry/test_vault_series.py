"""What the metrics tell of Vault."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from extauthz.telemetry import MergedMetrics, Metrics


@dataclass(frozen=True)
class Counts:
    """As Vault has them."""

    available: bool = True
    token_seconds: float | None = 1200.0
    skew: float = 0.5
    questions: int = 9
    failures: int = 2
    logins: int = 1
    renewals: int = 3
    login_failures: int = 4


def page(counts: Counts | None, unrevoked: int = 0) -> str:
    metrics = Metrics(CollectorRegistry(), version="1")
    metrics.watch_vault(lambda: counts, lambda: unrevoked)
    return metrics.render().decode()


def test_what_is_asked_and_how_long_the_token_lasts() -> None:
    """With leases that nobody could give back."""
    text = page(Counts(), unrevoked=2)
    for line in (
        "extauthz_vault_available 1.0",
        "extauthz_vault_token_ttl_seconds 1200.0",
        "extauthz_vault_clock_skew_seconds 0.5",
        "extauthz_vault_questions_total 9.0",
        "extauthz_vault_failed_total 2.0",
        'extauthz_vault_logins_total{outcome="login"} 1.0',
        'extauthz_vault_logins_total{outcome="renewal"} 3.0',
        'extauthz_vault_logins_total{outcome="failed"} 4.0',
        "extauthz_vault_leases_unrevoked 2.0",
    ):
        assert line in text


def test_a_token_that_never_ends_has_no_time_left() -> None:
    """So no alert on the time that is left."""
    assert "extauthz_vault_token_ttl_seconds" not in page(Counts(token_seconds=None))


def test_without_a_vault_there_is_nothing() -> None:
    """An alert on a Vault that is down must not sound where there is none."""
    assert "extauthz_vault" not in page(None)


def test_of_several_workers_the_worst_is_told() -> None:
    """Each is logged in for itself; questions and leases add up."""
    pages = [page(Counts(skew=-3.0), 1), page(Counts(available=False, token_seconds=10.0), 1)]
    merged = MergedMetrics().merged([text.encode() for text in pages])[0].decode()
    for line in (
        "extauthz_vault_available 0.0",
        "extauthz_vault_token_ttl_seconds 10.0",
        "extauthz_vault_clock_skew_seconds -3.0",
        "extauthz_vault_questions_total 18.0",
        "extauthz_vault_leases_unrevoked 2.0",
    ):
        assert line in merged
