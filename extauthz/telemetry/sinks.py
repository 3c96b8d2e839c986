"""Where decision records go: a bounded queue, and a thread that writes what is in it.

``write`` is called once a Check. It appends to a deque and returns: no lock, no system call, and what does not fit is
counted and dropped, because a full disk or a reader that has stopped must not keep a decision waiting. The bound is on
bytes and not on records, since long paths and subjects come from clients.

The thread writes four times a second, or sooner when the queue is half full, so that a record is at most a quarter of a
second old when it reaches the operating system. Lost records are counted, and told once a minute and at the end, with
how many there were.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from extauthz.telemetry.repeats import Repeats

__all__ = ["Descriptor", "LineFile", "QueuedSink", "Sink", "Target"]

_CAPACITY = 8 * 1024 * 1024
_BATCH = 1024 * 1024
_PAUSE = 0.25
_MODE = 0o640
"""Records name people and addresses: the owner, and a group for the log shipper, may read them."""

_BEHIND = "the log is not taken as fast as it is written"

_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Takes the lines of decision records."""

    def write(self, line: bytes) -> None:
        """Take one line, with its line end, without waiting and without raising."""
        ...

    def close(self, timeout: float) -> None:
        """Write what was taken, for at most this many seconds."""
        ...


class Target(Protocol):
    """What a ``QueuedSink`` writes to, from its own thread."""

    def write(self, data: bytes) -> int:
        """Write whole lines and return the number of bytes that were written; waits, raises OSError."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class Descriptor:
    """An open descriptor, such as standard output."""

    def __init__(self, descriptor: int) -> None:
        """Use this descriptor; whoever opened it closes it."""
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Write some of the data."""
        return os.write(self._descriptor, data)

    def close(self) -> None:
        """Leave the descriptor open: it is not ours."""


class LineFile:
    """A file that is appended to, and opened again when its name leads to another file: rotated, deleted, replaced."""

    def __init__(self, path: str) -> None:
        """Write to this path. It is opened when something is written."""
        self._path = Path(path)
        self._descriptor: int | None = None
        self._inode = (0, 0)

    def write(self, data: bytes) -> int:
        """Write some of the data.

        Raises:
            OSError: The file could not be opened or written.
        """
        return os.write(self.open(), data)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def open(self) -> int:
        """The descriptor of the file that stands at the path now.

        Raises:
            OSError: It could not be opened.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if self._descriptor is not None and found is not None and (found.st_dev, found.st_ino) == self._inode:
            return self._descriptor
        self.close()
        # Appending: several processes may write to one file without tearing each other's lines.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        status = os.fstat(descriptor)
        self._descriptor, self._inode = descriptor, (status.st_dev, status.st_ino)
        return descriptor


class QueuedSink:
    """Queues lines and writes them from a thread. ``write`` is for one thread; it never waits."""

    def __init__(
        self,
        target: Target,
        *,
        dropped: Callable[[int], None],
        clock: Callable[[], float],
        capacity: int = _CAPACITY,
        pause: float = _PAUSE,
    ) -> None:
        """Start the thread.

        ``dropped`` is told how many lines were lost, from either thread. ``clock`` is monotonic; it and ``pause`` are in
        seconds, ``capacity`` in bytes.
        """
        self._target = target
        self._dropped = dropped
        self._capacity = capacity
        self._pause = pause
        self._repeats = Repeats(clock)
        self._lines: deque[bytes] = deque()
        # Each of the two is written by one thread only, so that neither needs a lock; their difference is the backlog.
        self._taken = 0
        self._done = 0
        self._writing = 0
        self._torn = False
        self._unreported = 0
        self._report_lock = threading.Lock()
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="extauthz-decisions", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line, or count it as dropped if the queue is full."""
        size = len(line)
        before = self._taken - self._done
        if before + size > self._capacity or self._closing:
            self._lost(1, _BEHIND)
            return
        self._lines.append(line)
        self._taken += size
        if before < self._capacity // 2 <= before + size:
            self._wake.set()

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most this many seconds; what then is left is counted as dropped."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        left = len(self._lines) + self._writing if self._thread.is_alive() else 0
        self._lost(left, _BEHIND, last=True)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._pause)
            self._wake.clear()
            closing = self._closing  # read before the queue is emptied: what was queued before it is then written
            while self._lines:
                self._write_batch()
            if closing:
                self._target.close()
                return

    def _write_batch(self) -> None:
        batch: list[bytes] = []
        size = 0
        while self._lines and size < _BATCH:
            line = self._lines.popleft()
            batch.append(line)
            size += len(line)
        # A line that was cut short by a full disk ends here, and spoils only itself.
        data = b"".join((b"\n", *batch) if self._torn else batch)
        self._writing = len(batch)
        rest, fault = self._put(data)
        self._writing = 0
        lost = min(rest.count(b"\n"), len(batch))
        self._done += size
        if lost:
            self._lost(lost, str(fault))

    def _lost(self, lines: int, why: str, *, last: bool = False) -> None:
        """Count lost lines, and tell of all that were lost since the last report, if one is due. For either thread."""
        if lines:
            self._dropped(lines)
        with self._report_lock:
            self._unreported += lines
            if not self._unreported or (not last and self._repeats.due() is None):
                return
            lines, self._unreported = self._unreported, 0
        _log.error("decision records were lost", error=why, lines=lines)

    def _put(self, data: bytes) -> tuple[bytes, OSError | None]:
        """Write it all; what was not written, and why."""
        rest = data
        try:
            while rest:
                rest = rest[self._target.write(rest) :]
        except OSError as fault:
            written = data[: len(data) - len(rest)]
            if written:
                self._torn = not written.endswith(b"\n")
            return rest, fault
        self._torn = False
        return rest, None
