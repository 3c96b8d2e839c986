"""Reads what ``/metrics`` gives, for tools that look at a running server."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Samples", "read_samples"]

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and labels, sorted."""


def read_samples(text: bytes) -> Samples:
    """The samples of a page in Prometheus's text format.

    Raises:
        ValueError: It is none.

    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text.decode("utf-8", "replace"))
        for sample in family.samples
    }
