"""What a key is good for follows from the time, and so that no token is ever refused for its key."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.schedule import KeySchedule
from tests.tokens.signing import NOW, SCHEDULE

DELAY, LIFETIME, SKEW, EVERY = (
    SCHEDULE.publish_delay,
    SCHEDULE.max_token_lifetime,
    SCHEDULE.skew,
    SCHEDULE.rotate_every,
)
DAY = 86_400.0


def version(number: int, created: float, algorithm: str = "ES256", slot: str = "") -> KeyVersion:
    return KeyVersion(f"k{number}", algorithm, created, {"kty": "EC"}, slot=slot)


def versions(*offsets: float) -> list[KeyVersion]:
    """Keys that were made so many seconds after NOW."""
    return [version(number, NOW + offset) for number, offset in enumerate(offsets)]


def slots(keys: Sequence[KeyVersion], offset: float) -> list[str]:
    return [placed.slot for placed in SCHEDULE.place(keys, NOW + offset)]


def current(keys: Sequence[KeyVersion], now: float) -> str:
    found = SCHEDULE.current(keys, now)
    return found.kid if found else ""


def published(keys: Sequence[KeyVersion], now: float) -> set[str]:
    return {placed.version.kid for placed in SCHEDULE.place(keys, now) if placed.published}


timelines = st.lists(st.floats(0.001, 20_000), max_size=6).map(lambda gaps: versions(*accumulate(gaps, initial=0.0)))
moments = st.floats(-10_000, 150_000).map(lambda offset: NOW + offset)


def test_the_life_of_a_key() -> None:
    """next, current, previous, gone, each at the second."""
    keys = versions(0, 3600)
    assert slots(keys[:1], 0) == ["current"]
    assert slots(keys, 3600) == ["current", "next"]
    assert slots(keys, 3600 + 599.999) == ["current", "next"]
    assert slots(keys, 3600 + 600) == ["previous", "current"]
    assert slots(keys, 3600 + 600 + 359.999) == ["previous", "current"]
    assert slots(keys, 3600 + 600 + 360) == ["gone", "current"]


def test_the_first_key_signs_at_once() -> None:
    """Nobody has to be told of it before, and without it nothing could be signed."""
    assert slots(versions(0), 0) == ["current"]
    assert SCHEDULE.place(versions(0), NOW)[0].signs == NOW


def test_a_key_with_nothing_older_left_signs_at_once() -> None:
    """After an emergency: what is waiting to be current, or was made a moment ago, takes over."""
    keys = versions(0, 3600)
    assert current(keys, NOW + 3601) == "k0"
    assert current(keys[1:], NOW + 3601) == "k1"


def test_there_is_no_key() -> None:
    """Then nothing is current, and one is due."""
    assert SCHEDULE.place([], NOW) == ()
    assert SCHEDULE.current([], NOW) is None
    assert SCHEDULE.due([], NOW)


def test_slots_that_are_said_hold() -> None:
    """Whatever the time, and in the order in which the backend gives them."""
    keys = [version(0, NOW, slot="previous"), version(1, NOW, slot="current"), version(2, NOW, slot="next")]
    for offset in (-1e6, 0.0, 1e6, 1e9):
        assert slots(keys, offset) == ["previous", "current", "next"]
        assert not SCHEDULE.due(keys, NOW + offset)
        assert SCHEDULE.destroyable(keys, NOW + offset) is None
    assert SCHEDULE.due_at(keys) == math.inf
    assert slots([version(0, NOW, slot="standby"), version(1, NOW, slot="current")], 0) == ["previous", "current"]


@given(timelines, moments)
def test_exactly_one_key_is_current(keys: list[KeyVersion], now: float) -> None:
    """At any time, before the first key was made as well, and it is published."""
    placed = SCHEDULE.place(keys, now)
    assert [one.slot for one in placed].count("current") == 1
    order = ["gone", "previous", "current", "next"]
    assert [one.slot for one in placed] == sorted((one.slot for one in placed), key=order.index)
    assert current(keys, now) in published(keys, now)


@given(timelines, moments)
def test_the_order_of_a_backend_does_not_matter(keys: list[KeyVersion], now: float) -> None:
    """Two replicas that are told the same keys in another order agree."""
    assert SCHEDULE.place(keys[::-1], now) == SCHEDULE.place(keys, now)


@given(timelines, st.floats(0, 100_000))
def test_a_key_is_published_before_it_signs(keys: list[KeyVersion], offset: float) -> None:
    """Whoever fetched the keys at any time up to publishDelay before a signature knows the key, unless it is the first."""
    now = NOW + offset
    signer = current(keys, now)
    for back in (0.0, DELAY / 3, DELAY * 0.999):
        then = now - back
        known_then = [key for key in keys if key.created <= then]
        if known_then:
            assert signer in published(known_then, then)


@given(timelines, st.floats(0, 100_000), st.floats(0, LIFETIME + SKEW - 0.001))
def test_a_key_is_published_until_its_last_token_has_ended(keys: list[KeyVersion], offset: float, age: float) -> None:
    """Whoever signs at a time, with the keys of that time, signs what can be checked until it ends and the skew after."""
    then = NOW + offset
    signer = current([key for key in keys if key.created <= then], then)
    now = then + age
    assert signer in published([key for key in keys if key.created <= now], now)


@given(timelines, st.floats(0, 100_000), st.floats(-SKEW, SKEW), st.floats(0, LIFETIME - 0.001))
def test_replicas_with_other_clocks_refuse_nothing(
    keys: list[KeyVersion], offset: float, skew: float, age: float
) -> None:
    """Two replicas whose clocks differ by the skew may sign with two keys; each publishes what the other signs with."""
    then = NOW + offset
    signer = current([key for key in keys if key.created <= then], then)
    here = then + age + skew
    known = [key for key in keys if key.created <= then]
    assert signer in published(known, here)


@given(timelines, moments, st.floats(-4 * 3600, 4 * 3600))
def test_a_clock_that_jumps_destroys_nothing_in_use(keys: list[KeyVersion], now: float, jump: float) -> None:
    """Hours ahead or behind: what a wrong clock would destroy, no token of a right one can need."""
    doomed = SCHEDULE.destroyable(keys, now + jump)
    if doomed is not None:
        gone = {key.kid for key in keys if key.created <= doomed.created}
        assert not gone & published(keys, now)
    assert current(keys, now + jump)
    assert current(keys, now) == current(keys, now)


@given(timelines, moments)
def test_to_destroy_what_may_be_destroyed_changes_nothing(keys: list[KeyVersion], now: float) -> None:
    """The others keep their slots."""
    doomed = SCHEDULE.destroyable(keys, now)
    if doomed is not None:
        left = [key for key in keys if key.created > doomed.created]
        assert {one.version.kid: one.slot for one in SCHEDULE.place(left, now)} == {
            one.version.kid: one.slot for one in SCHEDULE.place(keys, now) if one.version in left
        }
        assert current(left, now) == current(keys, now)


def test_a_key_is_destroyed_a_day_after_it_is_gone() -> None:
    """And with it all that are older."""
    keys = versions(0, 3600, 7200)
    gone = 7200 + DELAY + LIFETIME + SKEW
    assert SCHEDULE.destroyable(keys, NOW + gone + DAY - 0.001) == keys[0]
    assert SCHEDULE.destroyable(keys, NOW + gone + DAY) == keys[1]
    assert SCHEDULE.destroyable(keys, NOW + 100 * DAY) == keys[1]


def test_a_key_is_due_by_the_age_of_the_newest() -> None:
    """Whether that one signs already or not."""
    keys = versions(0, 100)
    assert SCHEDULE.due_at(keys) == NOW + 100 + EVERY
    assert not SCHEDULE.due(keys, NOW + 100 + EVERY - 0.001)
    assert SCHEDULE.due(keys, NOW + 100 + EVERY)


def test_another_algorithm_is_a_rotation() -> None:
    """It is due at once; the old key signs until the new one is known, and is known until its last token has ended (K10)."""
    changed = replace(SCHEDULE, algorithm="EdDSA")
    keys = versions(0)
    assert changed.due(keys, NOW)
    keys.append(version(1, NOW + 10, "EdDSA"))
    assert not changed.due(keys, NOW + 10)
    assert [one.slot for one in changed.place(keys, NOW + 10 + DELAY - 1)] == ["current", "next"]
    assert [one.slot for one in changed.place(keys, NOW + 10 + DELAY)] == ["previous", "current"]


def test_a_run_of_many_rotations() -> None:
    """Keys that are made when they are due follow each other, one rotation apart, and few are there at a time."""
    keys: list[KeyVersion] = []
    signers: list[str] = []
    numbers = count()
    now = NOW
    while now < NOW + 50 * EVERY:
        if SCHEDULE.due(keys, now):
            keys.append(version(next(numbers), now))
        doomed = SCHEDULE.destroyable(keys, now)
        if doomed is not None:
            keys = [key for key in keys if key.created > doomed.created]
        if (signer := current(keys, now)) not in signers[-1:]:
            signers.append(signer)
        assert len(published(keys, now)) <= 3
        assert len(keys) <= DAY / EVERY + 4
        now += 60
    assert signers == list(dict.fromkeys(signers))
    assert len(signers) > 40


@pytest.mark.parametrize(
    "change",
    [
        {"rotate_every": 600.0},
        {"rotate_every": 599.0},
        {"publish_delay": -1.0},
        {"skew": math.nan},
        {"max_token_lifetime": math.inf},
    ],
)
def test_times_that_can_not_be_right(change: dict[str, Any]) -> None:
    """They are refused where they are put together."""
    with pytest.raises(ValueError, match=r"time|before it signs"):
        replace(SCHEDULE, **change)


def test_signing_begins_in_the_order_of_making() -> None:
    """However soon after each other keys are made."""
    placed = SCHEDULE.place(versions(0, 0.001, 0.002, 5), NOW)
    assert all(one.signs < other.signs and one.replaced == other.signs for one, other in pairwise(placed))
    assert isinstance(SCHEDULE, KeySchedule)
