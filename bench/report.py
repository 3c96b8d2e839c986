"""What is promised of a figure, and whether it held: each benchmark tells it here, and ``python -m bench`` puts all of it in
one table.

A *promise* is broken if it does not hold, and the exit code says so. An *aim* is what we want and may not have yet.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["COLLECTED", "Verdict", "aimed", "collected", "promised"]

COLLECTED = "BENCH_REPORT"
"""The variable that names the file where verdicts are collected, one JSON object in a line."""


@dataclass(frozen=True)
class Verdict:
    """A figure and its bound."""

    what: str
    measured: float
    bound: float
    unit: str
    at_least: bool
    aim: bool

    @property
    def kept(self) -> bool:
        """Whether it holds."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        """A row of the table."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:,g}"
        word = "kept" if self.kept else "not reached" if self.aim else "BROKEN"
        return f"{self.what:<70}{self.measured:>10,.2f} {self.unit:<8}{bound:<16}{word}"


def promised(what: str, measured: float, bound: float, *, unit: str = "times", at_least: bool = False) -> bool:
    """Tell a figure that must hold, and whether it does."""
    return _told(Verdict(what, measured, bound, unit, at_least, aim=False))


def aimed(what: str, measured: float, bound: float, *, unit: str = "times", at_least: bool = False) -> bool:
    """Tell a figure that we want, and whether it holds."""
    return _told(Verdict(what, measured, bound, unit, at_least, aim=True))


def _told(verdict: Verdict) -> bool:
    file = os.environ.get(COLLECTED)
    if file:
        with Path(file).open("a") as lines:
            lines.write(json.dumps(asdict(verdict)) + "\n")
    return verdict.kept


def collected(file: Path) -> list[Verdict]:
    """What was told."""
    return [Verdict(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
