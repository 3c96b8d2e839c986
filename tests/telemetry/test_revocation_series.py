"""What the metrics tell of revocations."""

from prometheus_client import CollectorRegistry

from extauthz.telemetry import MergedMetrics, Metrics, RevocationCounts


def page(counts: RevocationCounts) -> str:
    metrics = Metrics(CollectorRegistry(), version="1")
    metrics.watch_revocations(lambda: counts)
    return metrics.render().decode()


def test_they_are_counted_by_what_they_name() -> None:
    """With their age, what they refused, and whether the store had lost them."""
    text = page(RevocationCounts({"token": 3, "family": 1}, 0.25, 7, 1))
    for line in (
        'extauthz_revocations{kind="token"} 3.0',
        'extauthz_revocations{kind="family"} 1.0',
        "extauthz_revocations_age_seconds 0.25",
        "extauthz_revocations_refused_total 7.0",
        "extauthz_revocations_lost_total 1.0",
    ):
        assert line in text


def test_before_they_were_read_they_have_no_age() -> None:
    """An alert on an age that is missing is an alert on what nobody knows."""
    assert "extauthz_revocations_age_seconds" not in page(RevocationCounts({"token": 0}, None, 0, 0))


def test_workers_hold_the_same_ones() -> None:
    """So they do not add up; what they refused does."""
    pages = [page(RevocationCounts({"token": n}, float(n), n, 0)).encode() for n in (2, 3)]
    merged = MergedMetrics().merged(pages)[0].decode()
    assert 'extauthz_revocations{kind="token"} 3.0' in merged
    assert "extauthz_revocations_age_seconds 3.0" in merged
    assert "extauthz_revocations_refused_total 5.0" in merged
