"""Beside an audit log: a small file that says where the chain stands, and that its writers take turns by.

The log itself can't be asked once it was rotated away, and a lock on it would be a lock on whichever file has the name at
the moment. So the last number and seal are in ``<file>.head``, under whose lock every line is written. What it says is
checked against the log (inode and size) at every turn: it is never believed where the log says more.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from extauthz.telemetry.followed import FollowedFile

__all__ = ["Head", "HeadFile"]

_FORM = re.compile(rb"([0-9]{1,18}) ([0-9a-f]{64}) ([0-9]{1,20}) ([0-9]{1,20}) ([0-9]{1,18}) *\n")
_WIDTH = 160
_PATIENCE = 0.05
"""Seconds to wait for a turn; another writer needs a tenth of a millisecond, unless it was stopped in the middle."""
_PAUSE = 0.0002
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain stands."""

    seq: int
    seal: str
    device: int = 0
    inode: int = 0
    size: int = 0
    """Bytes of the log after that line."""


class HeadFile:
    """The file beside a log at this path."""

    def __init__(self, log: str) -> None:
        """Nothing is opened before the first turn."""
        self._file = FollowedFile(f"{log}.head", os.O_RDWR, _MODE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            OSError: It can't be had within some milliseconds.
        """
        descriptor = self._take_turn()
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _take_turn(self) -> int:
        deadline = time.monotonic() + _PATIENCE
        while True:
            descriptor = self._file.open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(0, "another process has it locked and does not let go") from None
                time.sleep(_PAUSE)
                continue
            if self._file.is_current():
                return descriptor
            # It was removed or replaced while we waited: others take turns by another file now.
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def read(self) -> Head | None:
        """Where the chain stood after the last turn; None if nobody knows."""
        found = _FORM.match(os.pread(self._file.open(), _WIDTH, 0))
        if found is None:
            return None
        return Head(int(found[1]), found[2].decode(), int(found[3]), int(found[4]), int(found[5]))

    def write(self, head: Head) -> None:
        """Say where it stands. Always of one length, so that a full disk can't refuse the second time."""
        text = f"{head.seq} {head.seal} {head.device} {head.inode} {head.size}".ljust(_WIDTH - 1) + "\n"
        os.pwrite(self._file.open(), text.encode(), 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
