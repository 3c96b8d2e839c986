"""Columns and long lines for people, in the width of their terminal.

Anywhere else, in a pipe or a file, each record is one line with all that there is. On a terminal a table that is too wide
loses the columns that matter least, which is said, and cells that are lists or sentences go on below; all of it is there
on a wider terminal and with ``--output json``.
"""

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

__all__ = ["folded", "print_table", "table", "terminal_width"]

_GAP: Final = "  "
_BELOW: Final = "    "
_BREAK: Final = re.compile(r"(?<=[ ,])")
"""Where a cell may go on below."""
_NARROWEST: Final = 10
"""Columns that a cell which goes on below has at least: as many as the heading of most columns."""
_LONGEST: Final = 40
"""A word that is longer is no reason to leave out a column: it is broken."""


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None: it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(lines: Sequence[Sequence[str]], *, folds: Sequence[str] = (), leaves_out: Sequence[str] = ()) -> None:
    """Print lines of cells, the first of them headings, in columns. Cells must be harmless.

    On a narrow terminal the cells of ``folds`` go on below, and ``leaves_out`` are left out from the first of them on, as
    far as it takes; what is, is told on standard error.
    """
    told, missing = table(lines, terminal_width(), folds=folds, leaves_out=leaves_out)
    for line in told:
        print(line)
    if missing:
        sys.stderr.write(f"left out: {', '.join(missing)} (a wider terminal has all, and --output json)\n")


def table(
    lines: Sequence[Sequence[str]], width: int | None, *, folds: Sequence[str] = (), leaves_out: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """The lines of a table that is ``width`` wide (None: as wide as it is) where that can be, and the headings left out."""
    columns = {column[0]: column for column in zip(*lines, strict=True)}
    missing: list[str] = []
    for name in leaves_out:
        if width is None or _least(columns, folds) <= width:
            break
        missing.append(name)
        del columns[name]
    widths = _widths(columns, width, folds)
    told: list[str] = []
    for cells in zip(*columns.values(), strict=True):
        pieces = [_pieces(cell, wide) for cell, wide in zip(cells, widths, strict=True)]
        told += (
            _GAP.join(text.ljust(wide) for text, wide in zip(row, widths, strict=True)).rstrip()
            for row in zip_longest(*pieces, fillvalue="")
        )
    return told, missing


def folded(fields: Sequence[str], width: int | None) -> Iterator[str]:
    """Fields of one record beside each other, and in further lines, which are indented, where they are too many."""
    if width is None:
        yield _GAP.join(fields)
        return
    line = fields[0]
    for field in fields[1:]:
        if len(line) + len(_GAP) + len(field) <= width:
            line += _GAP + field
        else:
            yield line
            *whole, last = _pieces(field, max(width - len(_BELOW), _NARROWEST))
            yield from (_BELOW + piece for piece in whole)
            line = _BELOW + last
    yield line


def _widths(columns: dict[str, tuple[str, ...]], width: int | None, folds: Sequence[str]) -> list[int]:
    """How wide each column is: what there is beyond the least of each goes to those that fold, a column at a time."""
    widths = {name: _wide(column) for name, column in columns.items()}
    if width is not None:
        least = {name: min(_narrow(columns[name]), widths[name]) for name in folds if name in columns}
        spare = width - _least(columns, folds)
        wanted = {name: widths[name] - narrow for name, narrow in least.items()}
        # The smallest wish first, so that what one column does not take is for the others.
        for done, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
            given = min(wanted[name], max(spare, 0) // (len(wanted) - done))
            widths[name] = least[name] + given
            spare -= given
    return list(widths.values())


def _least(columns: dict[str, tuple[str, ...]], folds: Sequence[str]) -> int:
    """The columns that a table takes at least."""
    wide = [_narrow(column) if name in folds else _wide(column) for name, column in columns.items()]
    return sum(wide) + len(_GAP) * (len(wide) - 1)


def _wide(column: Sequence[str]) -> int:
    return max(map(len, column))


def _narrow(column: Sequence[str]) -> int:
    """How narrow a column may be whose cells go on below."""
    longest = max(len(word.rstrip(" ")) for cell in column for word in _BREAK.split(cell))
    return min(_wide(column), max(_NARROWEST, min(longest, _LONGEST)))


def _pieces(cell: str, width: int) -> list[str]:
    """A cell in lines of a width."""
    if len(cell) <= width:
        return [cell]
    lines = [""]
    for word in _BREAK.split(cell):
        if len(lines[-1] + word.rstrip(" ")) > width and lines[-1]:
            lines.append("")
        rest = lines[-1] + word
        while len(rest.rstrip(" ")) > width:
            lines[-1], rest = rest[:width], rest[width:]
            lines.append("")
        lines[-1] = rest
    return [line.rstrip(" ") for line in lines]
