"""The page of docs that lists every metric, written from the metrics themselves.

    python -m extauthz.telemetry.page > docs/metrics.md

A test holds the two equal.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from extauthz.telemetry.audit_series import AuditCounts
from extauthz.telemetry.merging import MergedMetrics, families_of
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.revocation_series import RevocationCounts
from extauthz.tokens.key_view import KeyState, SigningState

__all__ = ["page"]

_HEAD = """# Metrics

<!-- Made by `python -m extauthz.telemetry.page`; a test proves that it is current. Change the code, not this file. -->

`/metrics` on the admin listener has these, in Prometheus's text format, or in OpenMetrics for whoever asks for it, as
Prometheus does. Label values are names of the configuration or words of a fixed table, never anything of a request: no client
can grow the memory of the server or of Prometheus. Series begin at zero when the server starts or a policy is loaded.

With `telemetry.traces` on, `extauthz_check_duration_seconds` and `extauthz_http_request_duration_seconds` have exemplars: the
trace of a request in each bucket. They are in OpenMetrics, and with one worker only; several workers are added up, and what died is kept in the sums ([workers.md](workers.md)).

`mesh/observability` in the repository has alerting and recording rules with their tests (`rules.yaml`), and a Grafana dashboard
(`dashboard.json`). `extauthz top` shows the same on a terminal.

| metric | labels | meaning |
|---|---|---|
"""
_FOOT = """
`process_*` are those that every Prometheus client has on Linux. CPU of a Check is
`sum(rate(process_cpu_seconds_total[5m])) / sum(rate(extauthz_check_total[5m]))`.
"""
_WORKERS = (
    ("extauthz_workers", "", "Worker processes that said how they are. Only with `workers` above 1."),
    (
        "extauthz_worker_restarts_total",
        "",
        "Worker processes that died and were started again. Only with `workers` above 1.",
    ),
)


@dataclass(frozen=True)
class _Sample:
    """One object that satisfies every protocol of the metrics."""

    name: str = "corporate"
    usable: bool = True
    age_seconds: float | None = 1.0
    hits: int = 0
    misses: int = 0
    stale: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0
    keys: int = 0
    forgotten: int = 0
    refused: int = 0
    available: bool = True
    replicas: int = 0
    asked: int = 0
    failed: int = 0
    leased: int = 0
    local: int = 0
    denied: int = 0
    in_flight: int = 0
    connections: int = 0
    cut: int = 0
    malformed: int = 0
    token_seconds: float | None = 1.0
    skew: float = 0.0
    questions: int = 0
    failures: int = 0
    logins: int = 0
    renewals: int = 0
    login_failures: int = 0


def _keys() -> SigningState:
    """Signing keys of which everything is known."""
    key = KeyState("k", "ES256", "current", 0.0, 1.0, 0.0, None, None)
    return SigningState("folder", (key,), usable=True, next_rotation=1.0, read=0.0)


def page() -> str:
    """The page in Markdown."""
    rows = sorted([*_rows(), *_WORKERS])
    told = "".join(f"| `{name}` | {labels} | {meaning} |\n" for name, labels, meaning in rows)
    return _HEAD + told + _FOOT


def _rows() -> Iterator[tuple[str, str, str]]:
    metrics = Metrics(CollectorRegistry(), version="1")
    metrics.watch_providers(lambda: [_Sample()])
    metrics.watch_token_cache(_Sample)
    metrics.watch_limiter(_Sample)
    metrics.watch_store(_Sample)
    metrics.watch_spans(lambda: (0, 0, 0))
    metrics.watch_policies(["p"], [("p", "r")])
    metrics.token_series()
    metrics.token_waits(time.monotonic)
    metrics.http_series().watch(_Sample)
    metrics.watch_signing(_keys)
    metrics.watch_vault(_Sample, lambda: 0)
    metrics.watch_audit(lambda: AuditCounts(0, 0))
    metrics.watch_revocations(lambda: RevocationCounts({"token": 0}, 0.0, 0, 0))
    metrics.certificate("listen.check", 1)
    merged, _ = MergedMetrics().merged([metrics.render()])
    for family in families_of(merged):
        if not family.name.startswith("process_"):
            yield _name(family), _labels(family), family.documentation


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> str:
    names = dict.fromkeys(name for sample in family.samples for name in sample.labels if name != "le")
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(page())
