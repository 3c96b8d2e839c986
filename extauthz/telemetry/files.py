"""Descriptors that decision records are written to: standard output, or a file that is rotated.

A file is followed by its name, so that anybody may rotate it. Asked to, it rotates itself: at a size, keeping a number of
old ones (``decisions.jsonl.1`` is the youngest). Several workers append to one file, and all of them may find it full at the
same moment: a lock on the file itself lets one rename it, and the others look at the name again. A line that a worker was
about to write goes to the renamed file, where it is as safe: a file may be longer than its size by what each of them writes
at a time.
"""

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from extauthz.telemetry.followed import FollowedFile
from extauthz.telemetry.repeats import Repeats

__all__ = ["Descriptor", "LineFile", "Rotation"]

_MODE = 0o640
"""Records name people and addresses: the owner, and a group for the log shipper, may read them."""

_TRIES, _PAUSE = 100, 0.01
"""How often, and after how many seconds, a file is looked at that another worker is about to put aside: one that was stopped
while it did so holds up the others for a second."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is put aside, and how many of those are kept."""

    max_bytes: int
    keep: int
    """At least one."""


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
    """A file that is appended to, and followed by its name."""

    def __init__(self, path: str, rotation: Rotation | None = None) -> None:
        """Write to this path. It is opened when something is written. Without a rotation others do that, or nobody."""
        # Appending: several processes may write to one file without tearing each other's lines.
        self._file = FollowedFile(path, os.O_WRONLY | os.O_APPEND, _MODE)
        self._rotation = rotation
        self._repeats = Repeats(time.monotonic)

    def write(self, data: bytes) -> int:
        """Write some of the data.

        Raises:
            OSError: The file could not be opened or written.
        """
        return os.write(self.open(), data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def open(self) -> int:
        """The descriptor of the file that stands at the path now.

        Raises:
            OSError: It could not be opened.
        """
        descriptor = self._file.open()
        rotation = self._rotation
        if rotation is None or os.fstat(descriptor).st_size < rotation.max_bytes:
            return descriptor
        try:
            for _ in range(_TRIES):
                if self._rotated(descriptor, rotation.keep):
                    break
                time.sleep(_PAUSE)
        except OSError as fault:
            # A file that grows is better than lines that are lost.
            if self._repeats.due() is not None:
                _log.error("the decision log can't be rotated, and grows", file=str(self._file.path), error=str(fault))
        return self._file.open()

    def _rotated(self, descriptor: int, keep: int) -> bool:
        """Put the file aside, unless another process did so a moment ago; False if one is about to."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            if self._file.is_current():
                youngest = next((number for number in range(1, keep) if not self._aside(number).exists()), keep)
                for number in range(youngest, 1, -1):
                    self._aside(number - 1).replace(self._aside(number))
                self._file.path.replace(self._aside(1))
        except FileNotFoundError:
            pass  # somebody else took it away, which is as good
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True

    def _aside(self, number: int) -> Path:
        return self._file.path.with_name(f"{self._file.path.name}.{number}")
