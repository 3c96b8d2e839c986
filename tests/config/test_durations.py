from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.config.durations import duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("150ms", 0.15),
        ("5s", 5.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1h1m1s1ms", 3661.001),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("0.5h", 1800.0),
        ("30d", 2_592_000.0),
        ("1d12h", 129_600.0),
    ],
)
def test_units(text: str, seconds: float) -> None:
    """Days, hours, minutes, seconds and milliseconds are told apart, and decimals are allowed."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 s", "s", "1s1m", "1m1m", "-1s", "+1s", "1e3s", "5S", "1w", "1h1d", "5s\n", "½s", "٣s", "1_0s", ".5s"],
)
def test_other_forms(text: str) -> None:
    """Everything else is refused: no unit, units out of order or twice, signs, spaces, other digits."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=3_599_999_999))
def test_round_trip(milliseconds: int) -> None:
    """A duration that is written out reads back as the same number."""
    seconds = milliseconds / 1000
    assert parse_duration(duration_text(seconds)) == seconds


@given(st.text(max_size=12))
def test_any_text(text: str) -> None:
    """No text gives anything but a number of seconds from 0 on, or a ValueError."""
    with suppress(ValueError):
        assert 0 <= parse_duration(text) < 10**15


def test_bare_number(problems: Callable[..., list[str]]) -> None:
    """A number without unit is refused with both readings in the hint."""
    assert problems("check: {deadline: 150}") == [
        "1:19: check.deadline: a duration needs its unit (write 150ms, 150s or 150m)"
    ]


@pytest.mark.parametrize("value", ["true", "[1s]", "null", "{}"])
def test_other_types(problems: Callable[..., list[str]], value: str) -> None:
    """What is no text is no duration."""
    assert problems(f"check: {{deadline: {value}}}")[0].startswith("1:19: check.deadline: must be a duration")


@pytest.mark.parametrize(
    ("setting", "least", "most"),
    [("deadline", "1ms", "10s"), ("drainDelay", "0s", "10m"), ("grace", "0s", "10m")],
)
def test_bounds(
    load: Callable[..., Any], problems: Callable[..., list[str]], setting: str, least: str, most: str
) -> None:
    """The bounds themselves are accepted, and what is beyond them is refused with both named."""
    for text in (least, most):
        assert load(f"check: {{{setting}: {text}}}")
    assert problems(f"check: {{{setting}: 11m}}") == [
        f"1:{11 + len(setting)}: check.{setting}: must be from {least} to {most}, and is 11m"
    ]
