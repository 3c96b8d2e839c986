"""What a request carries to prove who we are, and the files that it is made from.

A file is looked at before each use, so that what it holds can be replaced at any time; what was read last stays in force
while the file can't be used, and the fault is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from extauthz.errors import KeySetError
from extauthz.model import EMPTY

__all__ = ["Proof", "WatchedFile"]

_T = TypeVar("_T")

_MAX_FILE_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request has to carry."""

    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    form: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)


class WatchedFile(Generic[_T]):
    """What a file holds, read again when the path leads to another content: a replaced file, a swapped symbolic link.

    Several threads may look at once; at worst they read the same content twice.
    """

    def __init__(self, path: str, read: Callable[[bytes], _T]) -> None:
        """Read the file.

        Raises:
            KeySetError: It can't be used.
        """
        self._path = path
        self._read = read
        self._stamp, self._held = self._load()
        self.error = ""

    def current(self) -> _T:
        """What the file holds now, or what it held last while it can't be used."""
        try:
            if self._current_stamp() != self._stamp:
                self._stamp, self._held = self._load()
            self.error = ""
        except KeySetError as error:
            self.error = str(error)
        return self._held

    def _load(self) -> tuple[tuple[int, ...], _T]:
        # The stamp comes first: a file that changes in between is read again at the next look.
        stamp = self._current_stamp()
        try:
            with Path(self._path).open("rb") as file:
                content = file.read(_MAX_FILE_SIZE + 1)
        except OSError as error:
            raise KeySetError(f"{self._path}: {error.strerror}") from None
        if len(content) > _MAX_FILE_SIZE:
            raise KeySetError(f"{self._path}: larger than {_MAX_FILE_SIZE} bytes")
        try:
            return stamp, self._read(content)
        except KeySetError as error:
            raise KeySetError(f"{self._path}: {error}") from None

    def _current_stamp(self) -> tuple[int, ...]:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise KeySetError(f"{self._path}: {error.strerror}") from None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
