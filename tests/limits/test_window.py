"""The arithmetic of windows, against a list of counters: the age of each request in slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.limits.window import (
    MAX_BITS,
    SLOTS,
    advanced,
    bits_of,
    oldest,
    room,
    spent,
    used,
    waiting,
    widened,
)
from extauthz.model import Rate

BITS = bits_of(Rate(100))

AGES = st.lists(st.integers(0, SLOTS - 1), max_size=100)
"""How many slots ago each request was counted."""


def window_of(ages: list[int], bits: int = BITS) -> int:
    """The window that counts them."""
    return sum(1 << (age * bits) for age in ages)


@given(AGES)
def test_it_counts_all_and_tells_the_last_two_slots_and_the_oldest(ages: list[int]) -> None:
    """Three questions, three answers."""
    window = window_of(ages)
    assert used(window, BITS) == len(ages)
    assert spent(window, BITS) == sum(age <= 1 for age in ages)
    assert oldest(window, BITS) == max(ages, default=0)


@given(AGES, st.integers(0, 100_000))
def test_time_makes_requests_older_and_drops_those_of_61_slots(ages: list[int], seconds: int) -> None:
    """And changes nothing else."""
    left = [age + seconds for age in ages if age + seconds < SLOTS]
    assert advanced(window_of(ages), seconds, BITS) == window_of(left)


@given(AGES, st.integers(BITS, MAX_BITS))
def test_wider_fields_hold_the_same_counts(ages: list[int], bits: int) -> None:
    """A raised rate loses nothing."""
    assert widened(window_of(ages), BITS, bits) == window_of(ages, bits)


@given(AGES, st.integers(1, 100), st.one_of(st.none(), st.integers(1, 100)))
def test_the_wait_is_the_first_slot_in_which_there_is_room(ages: list[int], per_minute: int, burst: int | None) -> None:
    """Not one slot less, not one more, whatever the rate was before."""
    rate, window = Rate(per_minute, burst), window_of(ages)
    waits = (wait for wait in range(SLOTS + 1) if room(advanced(window, wait, BITS), rate, BITS) > 0)
    assert waiting(window, rate, BITS) == next(waits)


@pytest.mark.parametrize("per_minute", [1, 2, 3, 126, 127, 128, 1_000_000])
def test_a_rate_fits_its_fields(per_minute: int) -> None:
    """All of it in one slot, which is the most that a slot can hold."""
    rate = Rate(per_minute)
    bits = bits_of(rate)
    assert used(per_minute, bits) == used(advanced(per_minute, SLOTS - 1, bits), bits) == per_minute
    assert room(per_minute, rate, bits) == 0


def test_a_rate_that_can_not_be_counted_is_an_error() -> None:
    """Rather than a limit that nobody reaches."""
    with pytest.raises(ValueError, match="can't be counted"):
        bits_of(Rate(1 << MAX_BITS))
