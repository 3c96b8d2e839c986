"""Where decision records go: a bounded queue, and a thread that writes what is in it.

``write`` is called once a Check. It appends to a deque and returns: no lock, no system call, and what does not fit is
counted and dropped, because a full disk or a reader that has stopped must not keep a decision waiting. The bound is on
bytes and not on records, since long paths and subjects come from clients.

Who must have a record of everything that was allowed says so (``keep``). Then nothing that was taken is dropped while the
process lives: the thread tries again for as long as it takes. And ``full`` says when no Check should be let in any more;
those that were are taken in any case.

The thread writes four times a second, or sooner when the queue is half full, so that a record is at most a quarter of a
second old when it reaches the operating system. Lost records are counted, and told once a minute and at the end, with
how many there were.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from extauthz.telemetry.repeats import Repeats

__all__ = ["BATCH", "QueuedSink", "Sink", "Target"]

_CAPACITY = 8 * 1024 * 1024
BATCH = 1024 * 1024
"""Bytes written at a time."""
_PAUSE = 0.25

_BEHIND = "the log is not taken as fast as it is written"

_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Takes the lines of decision records."""

    def write(self, line: bytes, *, spare: bool = False) -> None:
        """Take one line, with its line end, without waiting and without raising; a ``spare`` one only if there is room."""
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


class QueuedSink:
    """Queues lines and writes them from a thread. ``write`` is for one thread; it never waits."""

    def __init__(
        self,
        target: Target,
        *,
        dropped: Callable[[int], None],
        clock: Callable[[], float],
        capacity: int = _CAPACITY,
        batch: int = BATCH,
        pause: float = _PAUSE,
        keep: bool = False,
    ) -> None:
        """Start the thread.

        ``dropped`` is told how many lines were lost, from either thread. ``clock`` is monotonic; it and ``pause`` are in
        seconds, ``capacity`` and ``batch``, what is written at a time, in bytes. With ``keep`` the target is tried until it
        takes what it is given.
        """
        self._target = target
        self._dropped = dropped
        self._clock = clock
        self._failing: tuple[float, str] | None = None
        """Since when, and why the target takes nothing."""
        self._capacity = capacity
        self._batch = batch
        self._pause = pause
        self._keep = keep
        self._repeats = Repeats(clock)
        self._lines: deque[bytes] = deque()
        # Each of the two is written by one thread only, so that neither needs a lock; their difference is the backlog.
        self._taken = 0
        self._done = 0
        self._writing = 0
        self._torn = False
        self._unreported = 0
        self._report_lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="extauthz-decisions", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether there is no room for one more line."""
        return self._taken - self._done >= self._capacity

    @property
    def state(self) -> tuple[bool, str]:
        """Whether it is well, and in words how it is; for either thread."""
        failing = self._failing
        full = "; it is full" if self.full else ""
        if failing is not None:
            return False, f"{failing[1]}, for {self._clock() - failing[0]:.0f} s, and tried again all the time{full}"
        return (False, _BEHIND + full) if full else (True, "written")

    def when_room(self, tell: Callable[[], None]) -> None:
        """Call ``tell``, from either thread, once there is room. It must not raise."""
        self._waiting.append(tell)
        if not self.full:  # it came to be meanwhile, and the thread may have seen nobody waiting
            self._tell_waiting()

    def write(self, line: bytes, *, spare: bool = False) -> None:
        """Queue one line, or count it as dropped if the queue is full; one that must be kept is queued all the same."""
        size = len(line)
        before = self._taken - self._done
        if (before + size > self._capacity and (spare or not self._keep)) or self._closing:
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
                if self._waiting and not self.full:
                    self._tell_waiting()
            if closing:
                self._target.close()
                return

    def _tell_waiting(self) -> None:
        while self._waiting:
            try:
                tell = self._waiting.popleft()
            except IndexError:  # the other thread was faster
                return
            tell()

    def _write_batch(self) -> None:
        batch: list[bytes] = []
        size = 0
        while self._lines and size < self._batch:
            line = self._lines.popleft()
            batch.append(line)
            size += len(line)
        while batch:
            # A line that was cut short by a full disk ends here, and spoils only itself.
            data = b"".join((b"\n", *batch) if self._torn else batch)
            self._writing = len(batch)
            rest, fault = self._put(data)
            if fault is None:
                self._failing = None
            elif self._failing is None:
                self._failing = self._clock(), str(fault)
            left = min(rest.count(b"\n"), len(batch))
            batch = batch[len(batch) - left :]
            if batch and not (self._keep and self._again(fault)):
                self._writing = 0
                self._lost(left, str(fault))
                break
        self._writing = 0
        self._done += size

    def _again(self, fault: OSError | None) -> bool:
        """Wait for a moment, having told what is wrong; False if it is time to end."""
        if self._closing:
            return False
        if self._repeats.due() is not None:
            _log.error("decision records can't be written, and wait", error=str(fault))
        self._wake.wait(self._pause)
        self._wake.clear()
        return True

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
