"""What the metrics tell of the signing keys."""

from typing import Any

from prometheus_client import CollectorRegistry

from extauthz.telemetry import MergedMetrics, Metrics
from extauthz.tokens.key_view import KeyState, SigningState
from extauthz.tokens.schedule import Slot


def key(slot: Slot, age: float) -> KeyState:
    return KeyState(f"kid-{age:g}", "ES256", slot, 0.0, age, 0.0, None, None)


def page(*keys: KeyState, usable: bool = True, next_rotation: float | None = 5.0, **more: Any) -> str:
    metrics = Metrics(CollectorRegistry(), version="1")
    metrics.watch_signing(lambda: SigningState("folder", keys, usable, next_rotation, **more))
    return metrics.render().decode()


def test_each_slot_has_its_number_and_the_age_of_its_newest_key() -> None:
    """Without the names of keys, which would leave a series behind with each rotation."""
    text = page(
        key("previous", 90), key("previous", 60), key("current", 30), rotations=2, missed=3, went_back=1, read=4.0
    )
    for line in (
        "extauthz_signing_usable 1.0",
        'extauthz_signing_keys{slot="next"} 0.0',
        'extauthz_signing_keys{slot="current"} 1.0',
        'extauthz_signing_keys{slot="previous"} 2.0',
        'extauthz_signing_key_age_seconds{slot="current"} 30.0',
        'extauthz_signing_key_age_seconds{slot="previous"} 60.0',
        "extauthz_signing_rotation_due_timestamp_seconds 5.0",
        "extauthz_signing_keys_read_age_seconds 4.0",
        "extauthz_signing_keys_made_total 2.0",
        "extauthz_signing_keys_failed_total 3.0",
        "extauthz_signing_keys_went_back_total 1.0",
    ):
        assert line in text
    assert 'age_seconds{slot="next"}' not in text
    assert "kid-" not in text


def test_what_nobody_knows_has_no_value() -> None:
    """Keys that somebody else makes are never due, and keys that were never read have no age."""
    text = page(usable=False, next_rotation=None)
    assert "extauthz_signing_usable 0.0" in text
    assert "extauthz_signing_rotation_due" not in text
    assert "extauthz_signing_keys_read_age" not in text


def test_of_several_workers_the_worst_is_told() -> None:
    """One that can't sign, that has not seen the next key, that has not looked for long; what they made adds up."""
    well = page(key("current", 30), key("next", 2), rotations=1, read=1.0, next_rotation=100.0)
    worse = page(key("current", 30), usable=False, rotations=2, read=60.0, next_rotation=50.0)
    merged = MergedMetrics().merged([well.encode(), worse.encode()])[0].decode()
    for line in (
        "extauthz_signing_usable 0.0",
        'extauthz_signing_keys{slot="next"} 0.0',
        'extauthz_signing_keys{slot="current"} 1.0',
        "extauthz_signing_rotation_due_timestamp_seconds 50.0",
        "extauthz_signing_keys_read_age_seconds 60.0",
        "extauthz_signing_keys_made_total 3.0",
    ):
        assert line in merged
