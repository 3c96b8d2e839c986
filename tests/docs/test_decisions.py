"""docs/decisions: numbered without gaps, each with its status, and an index of all."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("0*.md"))


def test_numbers_have_no_gaps() -> None:
    assert [int(file.name[:4]) for file in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("file", DECISIONS, ids=lambda file: file.stem)
def test_a_decision_has_its_number_and_status(file: Path) -> None:
    """Whoever comes by a link learns first whether it still holds."""
    title, blank, status = file.read_text().splitlines()[:3]
    assert title.startswith(f"# {int(file.name[:4])}. ")
    assert blank == ""
    assert re.match(r"Status: (accepted|overturned)\.", status)


def test_the_index_has_them_all() -> None:
    """In their order, by their titles."""
    rows = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    titles = [file.read_text().splitlines()[0].partition(". ")[2] for file in DECISIONS]
    assert rows == [(file.name[:4], file.name, title) for file, title in zip(DECISIONS, titles, strict=True)]
