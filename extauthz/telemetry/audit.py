"""The audit log of the token service: what was done with tokens and keys, and what was refused, in a chain of lines.

``record`` returns once the line is with the operating system, which outlives a kill of the process; it is not synced to
the disk, so a loss of power may cost the last lines (the head file then tells that they are missing). A line takes about
a tenth of a millisecond, and never longer than the patience of a turn: it is called from the event loop.

Any number of processes may write to one file. A file that was moved away, deleted or emptied is begun again, with a line
that names the last seal of the one before. Half a line, left by a writer that was killed or a disk that was full, is closed
off by a line that says so. What can't be told by whoever may write here is that the end of the log was cut off together
with its head file: only somebody who noted a seal elsewhere can.
"""

import os
import threading
from collections.abc import Callable
from typing import Literal

import structlog

from extauthz.errors import AuditError
from extauthz.telemetry.audit_head import Head, HeadFile
from extauthz.telemetry.audit_lines import BEGINS, GAP, GOES_ON, LONGEST_LINE, TORN, AuditKey, event_fields, read_line
from extauthz.telemetry.audit_series import AuditCounts
from extauthz.telemetry.followed import FollowedFile
from extauthz.telemetry.repeats import Repeats
from extauthz.tokens.ports import AuditEvent

__all__ = ["AuditFile", "WhenItFails"]

WhenItFails = Literal["deny", "goOn"]

_MODE = 0o640
"""Records name people and addresses: the owner, and a group for the log shipper, may read them."""

_log = structlog.get_logger(__name__)


class AuditFile:
    """An audit log in a file. Satisfies ``extauthz.tokens.ports.AuditLog``; any thread may record."""

    def __init__(
        self,
        path: str,
        key: AuditKey,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        when_it_fails: WhenItFails = "deny",
    ) -> None:
        """Nothing is opened yet. ``now`` gives seconds since the epoch, ``clock`` is monotonic."""
        self._key = key
        self._now = now
        self._goes_on = when_it_fails == "goOn"
        self._file = FollowedFile(path, os.O_RDWR | os.O_APPEND, _MODE)
        self._head = HeadFile(path)
        self._lock = threading.Lock()
        self._repeats = Repeats(clock)
        self._written = 0
        self._failed = 0

    def record(self, event: AuditEvent) -> None:
        """Write one line.

        Raises:
            AuditError: It can't be written, and nothing is to be done without it.
        """
        try:
            with self._lock, self._head.turn():
                self._append(event)
        except OSError as error:
            self._failed += 1
            reason = error.strerror or type(error).__name__
            if not self._goes_on:
                raise AuditError(f"the audit log {self._file.path} can't be written: {reason}") from None
            held_back = self._repeats.due()
            if held_back is not None:
                _log.error("not in the audit log", file=str(self._file.path), problem=reason, held_back=held_back)
            return
        self._written += 1

    def probe(self) -> None:
        """Open the log, so that a start without one fails before anything is done.

        Raises:
            AuditError: It can't be opened.
        """
        try:
            with self._lock, self._head.turn():
                self._file.open()
        except OSError as error:
            raise AuditError(f"the audit log {self._file.path} can't be opened: {error.strerror}") from None

    def counts(self) -> AuditCounts:
        """How the log is doing."""
        return AuditCounts(self._written, self._failed)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._file.close()
            self._head.close()

    def _append(self, event: AuditEvent) -> None:
        """Write a line for the event, behind those that it takes to have the chain in order again."""
        descriptor = self._file.open()
        status = os.fstat(descriptor)
        size, known = status.st_size, self._head.read()
        place = Head(0, "") if known is None else known
        whole = known is not None and (status.st_dev, status.st_ino, size) == (known.device, known.inode, known.size)
        data, first = b"", list[dict[str, object]]()
        if size == 0:
            first = [{"action": BEGINS if known is None else GOES_ON, "outcome": "done"}]
        elif not whole:
            place, data, first = self._recovered(descriptor, size, known)
        seq, seal = place.seq, place.seal
        now = self._now()
        for fields in (*first, event_fields(event, self._key)):
            seq += 1
            line, seal = self._key.line(fields, now=now, seq=seq, prev=seal)
            data += line
        try:
            _write(descriptor, data)
            self._head.write(Head(seq, seal, status.st_dev, status.st_ino, size + len(data)))
        except OSError:
            # What is there of it goes again: others find the log as it was.
            os.ftruncate(descriptor, size)
            raise

    def _recovered(self, descriptor: int, size: int, head: Head | None) -> tuple[Head, bytes, list[dict[str, object]]]:
        """Where the chain stands by what the log itself says, what has to be written before the next line, and the lines
        that tell of it.
        """
        start = max(0, size - LONGEST_LINE)
        tail = os.pread(descriptor, size - start, start)
        lines, _, torn = tail.rpartition(b"\n")
        last = read_line(lines.rpartition(b"\n")[2], self._key) if lines else None
        data, told = b"", list[dict[str, object]]()
        place = Head(0, "") if head is None else head
        if last is not None and last.seq >= place.seq:
            place = Head(last.seq, last.seal)
        elif not lines and (head is None or self._file.inode != (head.device, head.inode)):
            told.append({"action": BEGINS if head is None else GOES_ON, "outcome": "done"})
        else:
            found = f"its last line is number {last.seq}" if last else "its last line is none of ours"
            detail = f"{found}, and {place.seq} were written"
            _log.error("the audit log has lost lines", file=str(self._file.path), problem=detail)
            told.append({"action": GAP, "outcome": "refused", "detail": detail})
        if torn:
            data = b"\n"
            _log.warning("the audit log ended in half a line", file=str(self._file.path), bytes=len(torn))
            told.insert(0, {"action": TORN, "outcome": "done", "torn": self._key.digest(torn)})
        return place, data, told


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
