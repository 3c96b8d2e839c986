"""Files that are followed by their name, so that anybody may rotate, delete or replace them while they are written."""

import os
from pathlib import Path

__all__ = ["FollowedFile"]


class FollowedFile:
    """A file that is opened again when its name leads to another file."""

    def __init__(self, path: str, flags: int, mode: int) -> None:
        """Nothing is opened yet. ``flags`` are those of ``os.open`` besides that it is made, with ``mode``, if it is not there."""
        self.path = Path(path)
        self._flags = flags | os.O_CREAT | os.O_CLOEXEC
        self._mode = mode
        self._descriptor: int | None = None
        self.inode = (0, 0)
        """The device and inode of the file that was opened last."""

    def open(self) -> int:
        """The descriptor of the file that stands at the path now.

        Raises:
            OSError: It can't be opened.
        """
        if self._descriptor is None or not self.is_current():
            self.close()
            self._descriptor = os.open(self.path, self._flags, self._mode)
            status = os.fstat(self._descriptor)
            self.inode = (status.st_dev, status.st_ino)
        return self._descriptor

    def is_current(self) -> bool:
        """Whether the name still leads to the file that was opened last."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self.inode

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
