"""Reads audit logs: is the chain whole, and what do the lines say.

A chain shows that no line between its first and its last one was changed, removed, added or moved. Where the first one
comes from is said by the line itself. That lines are missing after the last one can be seen only by comparing with a seal
that was noted elsewhere while the log was longer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from extauthz.errors import AuditError, Position
from extauthz.telemetry.audit_lines import BEGINS, GAP, GOES_ON, LONGEST_LINE, TORN, AuditKey, AuditLine, read_line

__all__ = ["AuditReport", "audit_lines", "check_audit"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found."""

    lines: int
    """Lines that are whole, up to the fault if there is one."""
    first: int
    """The number of the first line; 0 if there is none."""
    last: int
    seal: str
    """The seal of the last line, to be noted elsewhere."""
    notes: tuple[str, ...] = ()
    """What a person should know although nothing is wrong."""
    where: Position | None = None
    """Where something is wrong first; None if nothing is."""
    fault: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.fault


@dataclass(slots=True)
class _Walk:
    """How far a check has come."""

    lines: int = 0
    first: int = 0
    last: AuditLine | None = None
    found: bool = False
    torn: tuple[Position, bytes] | None = None


def audit_lines(file: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file by number, from 1, without line ends; one that has none, the last, keeps a NUL at its end.

    Raises:
        AuditError: The file can't be read.
    """
    try:
        with Path(file).open("rb") as opened:
            number = 0
            while line := opened.readline(LONGEST_LINE + 1):
                number += 1
                yield number, line[:-1] if line.endswith(b"\n") else line + b"\0"
    except OSError as error:
        raise AuditError(f"{file} can't be read: {error.strerror}") from None


def check_audit(files: Sequence[str], key: AuditKey, expected: str = "") -> AuditReport:
    """Check the chain through files, oldest first. ``expected`` is a seal that must be there.

    Raises:
        AuditError: A file can't be read.
    """
    walk, notes = _Walk(found=not expected), list[str]()
    for file in files:
        begins = True
        for number, raw in audit_lines(file):
            where = Position(file, number)
            line = read_line(raw, key)
            wrong = where if walk.torn is None else walk.torn[0]
            if line is None and walk.torn is not None:
                return _report(walk, notes, wrong, fault=_NOT_OURS)
            if line is None:
                walk.torn = (where, raw)
                continue
            if fault := _fault(walk, line, key, begins=begins):
                return _report(walk, notes, wrong, fault=fault)
            if walk.torn is not None:
                notes.append(f"{walk.torn[0]}: half a line, whose writer was killed; the next one closes it off")
                walk.torn = None
            begins = False
            walk.first = walk.first or line.seq
            walk.last, walk.lines = line, walk.lines + 1
            walk.found = walk.found or line.seal == expected
    if walk.torn is not None:
        return _report(
            walk, notes, walk.torn[0], fault="is no whole line: it was cut off or changed, or its writer was killed"
        )
    if not walk.found:
        end = Position(files[-1])
        return _report(walk, notes, end, fault="no line has the seal that was expected: the end was cut off")
    if walk.first > 1:
        notes.insert(0, f"begins with line {walk.first}; the files before it were not looked at")
    return _report(walk, notes, None)


_NOT_OURS = "was changed, or is no line of this log, or the key is that of another one"


def _fault(walk: _Walk, line: AuditLine, key: AuditKey, *, begins: bool) -> str:
    """What is wrong with a line, whose seal is right, in its place; empty if nothing is."""
    last = walk.last
    if walk.torn is not None and not (line.action == TORN and line.fields.get("torn") == key.digest(walk.torn[1])):
        return _NOT_OURS
    if line.action == GAP:
        return f"the log had lost lines when this one was written: {line.fields.get('detail', '')}"
    if last is None:
        fresh = line.action in (BEGINS, TORN) and line.seq == 1 and not line.prev
        return "" if fresh or line.action == GOES_ON else "the lines before this one are missing"
    if line.prev == last.seal and line.seq == last.seq + 1:
        return ""
    if line.action == BEGINS:
        return "the log was begun anew here: its file and its head file were gone"
    if line.seq > last.seq + 1:
        return (
            f"{line.seq - last.seq - 1} lines before this one are missing, or moved (after {last.seq} comes {line.seq})"
        )
    what = "the files are not in order" if begins else "lines are in another order than they were written in"
    return f"{what} (after {last.seq} comes {line.seq})"


def _report(walk: _Walk, notes: Sequence[str], where: Position | None, *, fault: str = "") -> AuditReport:
    last = walk.last
    seq, seal = (0, "") if last is None else (last.seq, last.seal)
    return AuditReport(walk.lines, walk.first, seq, seal, tuple(notes), where, fault)
