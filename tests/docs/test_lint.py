"""The page about warnings lists what the linter knows."""

import re
from pathlib import Path

from extauthz.workbench.lint import CODES

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"


def test_the_page_lists_every_code() -> None:
    """With the sentence of the table in the code."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == dict(CODES)
