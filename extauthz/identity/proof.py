"""What a request carries to prove who we are, and the files that it is made from.

A file is looked at before each use, so that what it holds can be replaced at any time; what was read last stays in force
while the file can't be used, and the fault is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from extauthz.errors import KeySetError
from extauthz.identity.stamped_file import StampedFile
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
    """What a file holds, read again when the path leads to another content.

    Several threads may look at once; at worst they read the same content twice.
    """

    def __init__(self, path: str, read: Callable[[bytes], _T]) -> None:
        """Read the file.

        Raises:
            KeySetError: It can't be used.
        """
        self._file = StampedFile(path, read, max_size=_MAX_FILE_SIZE)
        self._held = self._file.load()
        self.error = ""

    def current(self) -> _T:
        """What the file holds now, or what it held last while it can't be used."""
        try:
            if self._file.changed():
                self._held = self._file.load()
            self.error = ""
        except KeySetError as error:
            self.error = str(error)
        return self._held
