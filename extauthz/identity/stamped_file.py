"""A file whose content may be replaced at any time."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from extauthz.errors import KeySetError

__all__ = ["StampedFile"]

_T = TypeVar("_T")


class StampedFile(Generic[_T]):
    """What identifies the content is the file that the path leads to, its size and its time of change, so that a replaced
    file and a swapped symbolic link (Kubernetes ConfigMaps) are both seen.
    """

    def __init__(self, path: str, read: Callable[[bytes], _T], *, max_size: int) -> None:
        """Read nothing yet. ``read`` raises KeySetError for what can't be used; ``max_size`` is in bytes."""
        self._path = path
        self._read = read
        self._max_size = max_size
        self._stamp: tuple[int, ...] = ()

    def changed(self) -> bool:
        """Whether there is another content than the one that was loaded last.

        Raises:
            KeySetError: The file is not there.
        """
        return self._current_stamp() != self._stamp

    def load(self) -> _T:
        """What the file holds now.

        Raises:
            KeySetError: It can't be read, or used.
        """
        # The stamp comes first: a file that changes in between is read again at the next look.
        stamp = self._current_stamp()
        try:
            with Path(self._path).open("rb") as file:
                content = file.read(self._max_size + 1)
        except OSError as error:
            raise KeySetError(f"{self._path}: {error.strerror}") from None
        if len(content) > self._max_size:
            raise KeySetError(f"{self._path}: larger than {self._max_size} bytes")
        try:
            held = self._read(content)
        except KeySetError as error:
            raise KeySetError(f"{self._path}: {error}") from None
        self._stamp = stamp
        return held

    def _current_stamp(self) -> tuple[int, ...]:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise KeySetError(f"{self._path}: {error.strerror}") from None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
