"""Faults that come back."""

from extauthz.telemetry.repeats import Repeats


def test_one_a_minute_with_the_number_held_back() -> None:
    """The first is told, the next after a minute, with how many came in between."""
    now = [0.0]
    repeats = Repeats(lambda: now[0])
    assert [repeats.due() for _ in range(3)] == [0, None, None]
    now[0] = 59.9
    assert repeats.due() is None
    now[0] = 60.0
    assert repeats.due() == 3
    now[0] = 120.0
    assert repeats.due() == 0


def test_a_few_in_an_interval() -> None:
    """Up to the number are told without a word, the first of the next interval says how many were held back."""
    now = [0.0]
    repeats = Repeats(lambda: now[0], 10.0, most=3)
    assert [repeats.due() for _ in range(5)] == [0, 0, 0, None, None]
    now[0] = 10.0
    assert [repeats.due() for _ in range(4)] == [2, 0, 0, None]
