"""What the metrics show of the signing keys: what each slot holds, since when, and when the next key is due."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from extauthz.tokens.key_view import SigningState

__all__ = ["SigningSeries"]

_SLOTS: Final = ("next", "current", "previous")


class SigningSeries:
    """Makes the series out of the state of the keys. Satisfies prometheus_client's ``Collector``.

    Keys are told by their slot and not by their name: names come and go, and would leave series behind.
    """

    def __init__(self, state: Callable[[], SigningState]) -> None:
        """Ask for the state whenever Prometheus asks us."""
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The series as they are now."""
        state = self._state()
        yield GaugeMetricFamily(
            "extauthz_signing_usable", "1 while tokens can be signed, as far as one can say, else 0.", state.usable
        )
        keys = GaugeMetricFamily("extauthz_signing_keys", "Published signing keys, by slot.", labels=["slot"])
        age = GaugeMetricFamily(
            "extauthz_signing_key_age_seconds",
            "Time since the newest key of the slot was made; none while the slot is empty.",
            labels=["slot"],
        )
        for slot in _SLOTS:
            ages = [key.age for key in state.keys if key.slot == slot]
            keys.add_metric([slot], len(ages))
            if ages:
                age.add_metric([slot], min(ages))
        yield keys
        yield age
        if state.next_rotation is not None:
            yield GaugeMetricFamily(
                "extauthz_signing_rotation_due_timestamp_seconds",
                "When the next key is made and published, in seconds since the epoch; none where somebody else makes them.",
                state.next_rotation,
            )
        if state.read is not None:
            yield GaugeMetricFamily(
                "extauthz_signing_keys_read_age_seconds", "Time since the keys were last looked at.", state.read
            )
        yield CounterMetricFamily("extauthz_signing_keys_made", "Keys that this server has made.", state.rotations)
        yield CounterMetricFamily(
            "extauthz_signing_keys_failed", "Looks at the keys, and rotations, that failed.", state.missed
        )
        yield CounterMetricFamily(
            "extauthz_signing_keys_went_back",
            "How often the keys were found to be older than before: a backup was restored, or a key taken away.",
            state.went_back,
        )
