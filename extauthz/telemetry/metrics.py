"""The counters, gauges and histograms of a process, for Prometheus.

Each label value comes from the configuration or from a fixed table, never from a request, so that no caller can grow the
memory of the process or of Prometheus (invariant I7). For the same reason all series can be made at start: they show
zero before the first event, which ``rate()`` needs, and a Check costs no look-up of labels.

What only one thread writes and nobody times, such as the number of Checks in flight, is a plain number that is read when
Prometheus asks. The client library locks on each ``inc``, which costs half a microsecond.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as _PLAIN
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from extauthz.model import Allow, Charge, ShadowVerdict
from extauthz.telemetry.answered import AnsweredChecks
from extauthz.telemetry.audit_series import AuditCounts, AuditSeries
from extauthz.telemetry.http_series import HttpSeries
from extauthz.telemetry.identity_series import CacheCounts, ProviderSeries, ProviderState, TokenCacheSeries
from extauthz.telemetry.limit_series import LimiterCounts, LimiterSeries, StoreCounts, StoreSeries
from extauthz.telemetry.loaded import LoadedCounter
from extauthz.telemetry.revocation_series import RevocationCounts, RevocationSeries
from extauthz.telemetry.signing_series import SigningSeries
from extauthz.telemetry.token_series import TokenSeries
from extauthz.telemetry.token_waits import TokenWaits
from extauthz.telemetry.vault_series import VaultCounts, VaultSeries
from extauthz.tokens.key_view import SigningState

__all__ = ["LoadOutcome", "Metrics"]

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

LoadOutcome = Literal["success", "failure"]


class Metrics:
    """All metrics of one process. Never in the client library's global registry, which other libraries write to."""

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = "") -> None:
        """Make every series, in a registry of their own if none is given. ``version`` is that of this program."""
        registry = CollectorRegistry() if registry is None else registry
        # A second series for each counter that says when it began is something only OpenMetrics readers use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        ProcessCollector(registry=registry)
        if version:
            told = Gauge("extauthz_build_info", "1, with the version that runs.", ("version",), registry=registry)
            told.labels(version).set(1)
        self._certificates = Gauge(
            "extauthz_certificate_expires_timestamp_seconds",
            "When the certificate of a listener expires, in seconds since the epoch.",
            ("listener",),
            registry=registry,
        )
        self._answered = AnsweredChecks()
        registry.register(self._answered)
        self.checked = self._answered.count
        """A Check was answered, for this reason, in this many seconds."""
        self._abandoned = Counter(
            "extauthz_check_abandoned", "Checks whose caller went away before the answer.", registry=registry
        )
        self._generation = Gauge(
            "extauthz_policy_generation", "Generation of the policy set in force.", registry=registry
        )
        loads = Counter(
            "extauthz_policy_load",
            "Attempts to load the policy set: success, failure (the last good set stays).",
            ("outcome",),
            registry=registry,
        )
        self._loads = {outcome: loads.labels(outcome) for outcome in ("success", "failure")}
        self._dropped = Counter(
            "extauthz_decision_log_dropped",
            "Decision records that were lost because their sink was slow or failed.",
            registry=registry,
        )
        self._held_back = Counter(
            "extauthz_decision_log_waits",
            "Checks that waited for room in the decision log (telemetry.decisions.whenFull: wait).",
            registry=registry,
        )
        self._shadows = LoadedCounter(
            "extauthz_shadow",
            "What policies and rules in shadow mode would have decided: allow, deny.",
            ("policy", "would"),
            ("allow", "deny"),
        )
        self._limits = LoadedCounter(
            "extauthz_limit",
            "Charges of rules with a rate: granted, limited (429), shadow (its rate denies nobody), failed (no limiter could tell).",
            ("policy", "rule", "outcome"),
            ("granted", "limited", "shadow", "failed"),
        )
        registry.register(self._shadows)
        registry.register(self._limits)
        self.inflight = 0
        """Checks that have come in and are not answered. Written by the thread that answers them."""
        Gauge("extauthz_inflight", "Checks being decided.", registry=registry).set_function(lambda: self.inflight)

    def certificate(self, listener: str, expires: float) -> None:
        """A listener has a certificate, which expires then, in seconds since the epoch."""
        self._certificates.labels(listener).set(expires)

    def abandoned(self) -> None:
        """The caller of a Check went away before the answer."""
        self._abandoned.inc()

    def policy_loaded(self, outcome: LoadOutcome, generation: int) -> None:
        """A policy set was loaded or refused; ``generation`` is the one in force afterwards."""
        self._loads[outcome].inc()
        self._generation.set(generation)

    def watch_policies(self, shadows: Iterable[str], rates: Iterable[tuple[str, str]]) -> None:
        """Show what a set of policies can be counted by, before it comes into force.

        ``shadows`` are policies of which something is in shadow mode, ``rates`` policies and rules with a rate.
        """
        self._shadows.load(frozenset((name,) for name in shadows))
        self._limits.load(frozenset(rates))

    def shadowed(self, shadows: Iterable[ShadowVerdict]) -> None:
        """A Check was answered, and this is what had no part in it."""
        for shadow in shadows:
            self._shadows.count((shadow.policy,), "allow" if isinstance(shadow.verdict, Allow) else "deny")

    def limited(self, charge: Charge, outcome: str) -> None:
        """A limiter was asked about a charge: ``granted``, ``limited``, ``shadow`` (its rate denies nobody) or ``failed``."""
        self._limits.count((charge.policy, charge.rule), outcome)

    def watch_limiter(self, counts: Callable[[], LimiterCounts]) -> None:
        """Show how many callers are counted in memory, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(LimiterSeries(counts))

    def watch_store(self, counts: Callable[[], StoreCounts]) -> None:
        """Show the store that counts for all replicas, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(StoreSeries(counts))

    def token_series(self) -> TokenSeries:
        """The series of the token service. To be called once."""
        return TokenSeries(self._registry)

    def token_waits(self, clock: Callable[[], float]) -> TokenWaits:
        """The series of what token requests wait for. To be called once."""
        return TokenWaits(self._registry, clock)

    def http_series(self) -> HttpSeries:
        """The series of the http listener. To be called once."""
        return HttpSeries(self._registry)

    def watch_signing(self, state: Callable[[], SigningState]) -> None:
        """Show the signing keys, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(SigningSeries(state))

    def watch_vault(self, counts: Callable[[], VaultCounts | None], unrevoked: Callable[[], int]) -> None:
        """Show Vault, if there is one, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(VaultSeries(counts, unrevoked))

    def watch_revocations(self, counts: Callable[[], RevocationCounts]) -> None:
        """Show how revocations are doing, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(RevocationSeries(counts))

    def watch_audit(self, counts: Callable[[], AuditCounts]) -> None:
        """Show how the audit log is doing, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(AuditSeries(counts))

    def watch_spans(self, counts: Callable[[], tuple[int, int, int]]) -> None:
        """Show how many spans were made, taken by the collector, and lost, whenever Prometheus asks us. To be called once."""
        self._registry.register(_Spans(counts))

    def held_back(self) -> None:
        """A Check waited until the decision log had room."""
        self._held_back.inc()

    def records_dropped(self, count: int) -> None:
        """Decision records were lost. May be called from any thread."""
        self._dropped.inc(count)

    def watch_providers(self, states: Callable[[], Iterable[ProviderState]]) -> None:
        """Show these providers, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(ProviderSeries(states))

    def watch_token_cache(self, counts: Callable[[], CacheCounts]) -> None:
        """Show the cache of verified tokens, asked for whenever Prometheus asks us. To be called once."""
        self._registry.register(TokenCacheSeries(counts))

    def render(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Everything, in the format that an ``Accept`` header asks for, with its content type.

        OpenMetrics has exemplars, which lead from a histogram to a trace; Prometheus asks for it by itself.
        """
        if "application/openmetrics-text" in accept.lower():
            page: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return page, _OPENMETRICS
        return generate_latest(self._registry), _PLAIN


class _Spans:
    """Makes the series of the spans out of their plain counts."""

    def __init__(self, counts: Callable[[], tuple[int, int, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        ended, exported, dropped = self._counts()
        yield CounterMetricFamily("extauthz_spans_ended", "Spans that were made of Checks.", ended)
        yield CounterMetricFamily("extauthz_spans_exported", "Spans that the collector took.", exported)
        yield CounterMetricFamily(
            "extauthz_spans_dropped",
            "Spans that were lost: the collector refused them, or takes them more slowly than they come.",
            dropped,
        )
