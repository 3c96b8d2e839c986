"""What Prometheus is told."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from extauthz.model import Reason
from extauthz.telemetry import Metrics
from extauthz.telemetry.page import page


@dataclass(frozen=True)
class State:
    """What identity tells of a provider."""

    name: str
    usable: bool
    age_seconds: float | None


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample of the rendered page."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_every_reason_is_there_from_the_start(metrics: Metrics) -> None:
    """Each reason has its series before it first occurs, with the result that belongs to it."""
    for reason in Reason:
        result = "allow" if reason is Reason.ALLOWED else "deny"
        assert value(metrics, "extauthz_check_total", result=result, reason=reason.word) == 0


def test_checks_are_counted_and_timed(metrics: Metrics) -> None:
    """An answered Check counts under its reason, and its duration under its result."""
    metrics.checked(Reason.ALLOWED, 0.0002)
    metrics.checked(Reason.NO_RULE, 0.003)
    metrics.checked(Reason.NO_RULE, 2.0)
    assert value(metrics, "extauthz_check_total", result="allow", reason="allowed") == 1
    assert value(metrics, "extauthz_check_total", result="deny", reason="no-rule") == 2
    assert value(metrics, "extauthz_check_duration_seconds_count", result="deny") == 2
    assert value(metrics, "extauthz_check_duration_seconds_bucket", result="deny", le="0.005") == 1
    assert value(metrics, "extauthz_check_duration_seconds_bucket", result="allow", le="0.00025") == 1


def test_policy_loads(metrics: Metrics) -> None:
    """A refused set counts as a failure, and the generation stays that of the set in force."""
    metrics.policy_loaded("success", 3)
    metrics.policy_loaded("failure", 3)
    assert value(metrics, "extauthz_policy_load_total", outcome="success") == 1
    assert value(metrics, "extauthz_policy_load_total", outcome="failure") == 1
    assert value(metrics, "extauthz_policy_generation") == 3


def test_inflight(metrics: Metrics) -> None:
    """The number of Checks being decided is read when Prometheus asks."""
    metrics.inflight += 2
    assert value(metrics, "extauthz_inflight") == 2


def test_providers(metrics: Metrics) -> None:
    """The state of providers is asked for anew each time; keys that never came have no age."""
    states = [State("corporate", usable=True, age_seconds=12.5), State("partner", usable=False, age_seconds=None)]
    metrics.watch_providers(lambda: states)
    assert value(metrics, "extauthz_provider_usable", provider="corporate") == 1
    assert value(metrics, "extauthz_provider_usable", provider="partner") == 0
    assert value(metrics, "extauthz_jwks_age_seconds", provider="corporate") == 12.5
    assert value(metrics, "extauthz_jwks_age_seconds", provider="partner") is None
    states[1] = State("partner", usable=True, age_seconds=1.0)
    assert value(metrics, "extauthz_jwks_age_seconds", provider="partner") == 1


def test_a_fault_in_one_source_leaves_the_others(metrics: Metrics) -> None:
    """Providers whose state can't be told do not take the page from the other metrics."""

    def broken() -> list[State]:
        raise RuntimeError("broken")

    metrics.watch_providers(broken)
    assert value(metrics, "extauthz_policy_generation") == 0


def test_names(metrics: Metrics) -> None:
    """All names begin with extauthz_, but for what every process tells, and no creation times double the series."""
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert all(name.startswith(("extauthz_", "process_")) for name in names)
    assert not [name for name in names if name.endswith("_created")]
    assert "process_cpu_seconds" in names


def test_registries_are_separate() -> None:
    """Two sets of metrics in one process know nothing of each other."""
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.checked(Reason.ALLOWED, 0.001)
    assert value(second, "extauthz_check_total", result="allow", reason="allowed") == 0


@dataclass(frozen=True)
class Counts:
    """What identity tells of its cache."""

    hits: int = 7
    misses: int = 3
    stale: int = 2
    evicted: int = 1
    entries: int = 4
    bytes: int = 5000


def test_token_cache(metrics: Metrics) -> None:
    """Look-ups by outcome, and how full the cache is, as they are when Prometheus asks."""
    metrics.watch_token_cache(Counts)
    for outcome, count in (("hit", 7), ("miss", 3), ("stale", 2)):
        assert value(metrics, "extauthz_identity_cache_total", outcome=outcome) == count
    assert value(metrics, "extauthz_identity_cache_evicted_total") == 1
    assert value(metrics, "extauthz_identity_cache_entries") == 4
    assert value(metrics, "extauthz_identity_cache_bytes") == 5000


def test_exemplars_lead_to_traces_where_they_can_be_read(metrics: Metrics) -> None:
    """In OpenMetrics, which Prometheus asks for; the older format has no place for them."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    metrics.checked(Reason.ALLOWED, 0.0002, trace)
    page, content_type = metrics.page("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert f'# {{trace_id="{trace}"}} 0.0002'.encode() in page
    assert page.endswith(b"# EOF\n")
    page, content_type = metrics.page("")
    assert content_type.startswith("text/plain")
    assert trace.encode() not in page


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=abc",
        "application/openmetrics-text;version=9.9.9",
        "text/plain;version=x",
        "text/plain;version=1.0.0;escaping=\x7f",
        ";;;,,,",
        "a" * 5000,
    ],
)
def test_any_accept_header_gets_a_page(metrics: Metrics, accept: str) -> None:
    """In one of two formats, which no word of the client changes."""
    page, content_type = metrics.page(accept)
    assert b"extauthz_check_total" in page
    assert content_type in {
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }


def test_version_and_certificates_are_told() -> None:
    """What runs, and until when it may."""
    metrics = Metrics(CollectorRegistry(), version="1.2.3")
    metrics.certificate("listen.check", 1_800_000_000)
    assert value(metrics, "extauthz_build_info", version="1.2.3") == 1
    name = "extauthz_certificate_expires_timestamp_seconds"
    assert value(metrics, name, listener="listen.check") == 1_800_000_000


def test_the_page_of_the_docs_is_current() -> None:
    """Each metric with its labels and what it means: python -m extauthz.telemetry.page > docs/metrics.md."""
    written = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    assert written == page()
    for name in ("extauthz_check_total", "extauthz_worker_check_total", "extauthz_store_available"):
        assert f"| `{name}` |" in written
