"""Metrics of rates: by policy and rule, what became of each charge."""

from dataclasses import replace

import pytest

from extauthz.limits import MemoryLimiter, SharedCounts
from extauthz.model import Allow, Charge, Decision, Deny, Permit, Rate, Reason
from extauthz.telemetry import Metrics, Telemetry

CHARGE = Charge(b"k" * 16, Rate(3), "orders", "read")
GRANTED = Permit(granted=True, remaining=1, reset=9)
REFUSED = Permit(granted=False, remaining=0, reset=9, retry_after=9)
ALLOWED = Decision("d", Allow("orders", "read", charge=CHARGE), 1, permit=GRANTED)


@pytest.fixture
def metrics() -> Metrics:
    """With one rule that has a rate."""
    metrics = Metrics()
    metrics.watch_policies((), [("orders", "read")])
    return metrics


def shown(metrics: Metrics) -> dict[str, float]:
    """The series of limits, by outcome."""
    found = {}
    for line in metrics.render().decode().splitlines():
        if line.startswith("extauthz_limit_total"):
            labels, _, value = line.rpartition(" ")
            found[labels.split('outcome="')[1].split('"')[0]] = float(value)
    return found


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        (ALLOWED, "granted"),
        (replace(ALLOWED, permit=REFUSED), "shadow"),
        (Decision("d", Deny(Reason.RATE_LIMITED), 1, charge=CHARGE, permit=REFUSED), "limited"),
        (Decision("d", Deny(Reason.STORE_UNAVAILABLE), 1, charge=CHARGE), "failed"),
        (replace(ALLOWED, permit=None), "failed"),
    ],
)
def test_what_became_of_a_charge_is_counted(metrics: Metrics, decision: Decision, outcome: str) -> None:
    """Of its policy and rule, which are there with zero before."""
    telemetry = Telemetry(metrics, now=lambda: 0.0)
    assert shown(metrics) == {"granted": 0, "limited": 0, "shadow": 0, "failed": 0}
    telemetry.finish(telemetry.begin(()), decision, None, 0.001)
    assert shown(metrics) == {"granted": 0, "limited": 0, "shadow": 0, "failed": 0, outcome: 1}


def test_a_decision_without_a_charge_is_no_business_of_a_limit(metrics: Metrics) -> None:
    """Neither an allow without a rate nor another denial."""
    telemetry = Telemetry(metrics, now=lambda: 0.0)
    for verdict in (Allow("orders", "free"), Deny(Reason.ROLE_MISSING)):
        telemetry.finish(telemetry.begin(()), Decision("d", verdict, 1), None, 0.001)
    assert sum(shown(metrics).values()) == 0


def test_the_limiter_shows_how_many_callers_it_counts(metrics: Metrics) -> None:
    """And how many it had to forget or refuse."""
    limiter = MemoryLimiter(clock=lambda: 0.0)
    metrics.watch_limiter(limiter.counts)
    limiter.take(CHARGE)
    page = metrics.render().decode()
    assert "extauthz_limiter_keys 1.0" in page
    assert "extauthz_limiter_forgotten_total 0.0" in page
    assert "extauthz_limiter_refused_total 0.0" in page


def test_a_shared_store_shows_whether_it_is_asked_and_what_became_of_charges(metrics: Metrics) -> None:
    counts = SharedCounts(
        available=False, since=0.0, error="", replicas=3, asked=70, failed=6, leased=50, local=4, denied=2
    )
    metrics.watch_store(lambda: counts)
    page = metrics.render().decode().splitlines()
    assert "extauthz_store_available 0.0" in page
    assert "extauthz_store_replicas 3.0" in page
    assert "extauthz_store_asked_total 70.0" in page
    assert "extauthz_store_failed_total 6.0" in page
    assert 'extauthz_store_unasked_total{outcome="leased"} 50.0' in page
    assert 'extauthz_store_unasked_total{outcome="local"} 4.0' in page
    assert 'extauthz_store_unasked_total{outcome="denied"} 2.0' in page
