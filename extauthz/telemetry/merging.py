"""The figures of several processes as those of one.

Counters and histograms add up, also with what processes counted that are no more, so that none ever goes back: Prometheus
would take that for a restart and count everything again. What a gauge of all is depends on what it tells: numbers of things
add up, of ages the oldest counts, of what should be well the worst. Exemplars are left out: they are of one process.
"""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["MergedMetrics", "families_of"]


def _furthest(values: Iterable[float]) -> float:
    """The one that is furthest from zero, on whichever side."""
    return max(values, key=abs)


_GAUGES: dict[str, Callable[[Iterable[float]], float]] = {
    "extauthz_policy_generation": min,
    "extauthz_provider_usable": min,
    "extauthz_jwks_age_seconds": max,
    "extauthz_store_available": min,
    "extauthz_store_replicas": max,
    "extauthz_build_info": max,
    "extauthz_certificate_expires_timestamp_seconds": min,
    "extauthz_revocations": max,
    "extauthz_revocations_age_seconds": max,
    "extauthz_signing_usable": min,
    "extauthz_signing_keys": min,
    "extauthz_signing_key_age_seconds": max,
    "extauthz_signing_rotation_due_timestamp_seconds": min,
    "extauthz_signing_keys_read_age_seconds": max,
    "extauthz_token_store_usable": min,
    "extauthz_token_store_warned": max,
    "extauthz_vault_available": min,
    "extauthz_vault_token_ttl_seconds": min,
    "extauthz_vault_clock_skew_seconds": _furthest,
    "process_start_time_seconds": min,
    "process_max_fds": min,
}
"""Gauges that do not add up."""

_Key = tuple[str, tuple[tuple[str, str], ...]]


class MergedMetrics:
    """Adds up the text expositions of processes."""

    def __init__(self) -> None:
        """Begin with none."""
        self._retired: dict[_Key, float] = {}

    def retire(self, text: bytes) -> None:
        """Keep what a process counted that is no more: its last exposition."""
        for family in families_of(text):
            if family.type == "gauge":
                continue
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                self._retired[key] = self._retired.get(key, 0.0) + sample.value

    def merged(self, texts: Sequence[bytes]) -> tuple[bytes, str]:
        """The exposition of all of them, with its content type."""
        families: dict[str, Metric] = {}
        values: dict[_Key, list[float]] = {}
        shares = CounterMetricFamily(
            "extauthz_worker_check", "Checks that each worker answered since it was started.", labels=("worker",)
        )
        for number, text in enumerate(texts):
            share = 0.0
            for family in families_of(text):
                families.setdefault(family.name, family)
                for sample in family.samples:
                    key = sample.name, tuple(sorted(sample.labels.items()))
                    values.setdefault(key, []).append(sample.value)
                    share += sample.value if sample.name == "extauthz_check_total" else 0.0
            shares.add_metric((str(number),), share)
        joined = [*self._joined(families, values), shares]
        return generate_latest(_Collected(joined)), CONTENT_TYPE_PLAIN_0_0_4

    def _joined(self, families: dict[str, Metric], values: dict[_Key, list[float]]) -> list[Metric]:
        joined: list[Metric] = []
        by_family: dict[str, list[_Key]] = {}
        for key in values:
            by_family.setdefault(_family_of(key[0], families), []).append(key)
        for name, family in families.items():
            made = Metric(family.name, family.documentation, family.type)
            rule = _GAUGES.get(name, sum) if family.type == "gauge" else sum
            for key in by_family.get(name, ()):
                before = 0.0 if family.type == "gauge" else self._retired.get(key, 0.0)
                made.add_sample(key[0], dict(key[1]), rule(values[key]) + before)
            joined.append(made)
        return joined


class _Collected:
    """Families as the client library writes them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _family_of(sample: str, families: dict[str, Metric]) -> str:
    """The family of a sample, whose name is the sample's but for what its type adds."""
    for suffix in ("", "_total", "_bucket", "_count", "_sum"):
        name = sample.removesuffix(suffix)
        if sample.endswith(suffix) and name in families:
            return name
    return sample


def families_of(text: bytes) -> Iterable[Metric]:
    """The families of a page in Prometheus's text format."""
    return text_string_to_metric_families(text.decode("utf-8", "replace"))
