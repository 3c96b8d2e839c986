"""docs/security.md: each number of the checklists of the token service has its line, and what it names is there."""

import re

import pytest

from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text()
LAST = {"O": 41, "K": 18, "X": 11, "F": 26}


def told(letter: str) -> set[int]:
    """The numbers that lines begin with."""
    found: set[int] = set()
    for cell in re.findall(rf"^\| ({letter}\d[^|]*) \|", PAGE, re.MULTILINE):
        for first, last in re.findall(rf"{letter}(\d+)(?: to {letter}(\d+))?", cell):
            found.update(range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize("letter", LAST)
def test_each_number_is_told(letter: str) -> None:
    """What holds, or why it does not."""
    assert told(letter) == set(range(1, LAST[letter] + 1))


def test_each_test_is_there() -> None:
    """A line without its test would be a promise."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (PROJECT / name).is_file()] == []
