"""docs/reasons.md says what the table in the code says."""

import re
from pathlib import Path

from extauthz.model import Reason

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_the_page_has_a_row_for_each_reason() -> None:
    """Word, HTTP status, gRPC code and sentence, in the order of the table."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\S+) \| (\S+) \| ([^|]+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    table = [
        (reason.word, str(reason.http) if reason.grpc else "-", str(reason.grpc or "-"), reason.sentence)
        for reason in Reason
    ]
    assert rows == table
