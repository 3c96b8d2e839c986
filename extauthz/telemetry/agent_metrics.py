"""The figures of an agent, for Prometheus."""

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as _PLAIN
from prometheus_client.exposition import generate_latest

__all__ = ["AgentMetrics"]

_OUTCOMES = ("done", "refused", "failed")


class AgentMetrics:
    """Satisfies ``extauthz.agent.KeeperMetrics``."""

    def __init__(self, *, version: str, now: Callable[[], float]) -> None:
        """``now`` gives seconds since the epoch."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._now = now
        self._registry = registry = CollectorRegistry()
        Gauge("extauthz_agent_info", "Always 1; the version is a label.", ("version",), registry=registry).labels(
            version
        ).set(1)
        self._expires = Gauge(
            "extauthz_agent_token_expires_timestamp_seconds",
            "When the token in force ends, in seconds since the epoch; 0: there is none.",
            registry=registry,
        )
        renewals = Counter(
            "extauthz_agent_renewals",
            "Times that a token was asked for: done, refused (the service does not want to), failed (it can't).",
            ("outcome",),
            registry=registry,
        )
        self._renewals = {outcome: renewals.labels(outcome) for outcome in _OUTCOMES}
        self._unwritten = Counter(
            "extauthz_agent_write_failures", "Times that a token could not be written.", registry=registry
        )

    def renewed(self, outcome: Literal["done", "refused", "failed"]) -> None:
        """A token was asked for."""
        self._renewals[outcome].inc()

    def holds(self, lifetime: float | None) -> None:
        """A token is in force for so many seconds from now on; None: there is none."""
        self._expires.set(0 if lifetime is None else self._now() + lifetime)

    def not_written(self) -> None:
        """A token could not be written."""
        self._unwritten.inc()

    def page(self, _accept: str) -> tuple[bytes, str]:
        """Everything in Prometheus's text format, with its content type."""
        return generate_latest(self._registry), _PLAIN
