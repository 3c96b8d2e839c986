"""The files in which tokens are kept: whole or not there, for their owner alone, and never without room.

A new content goes to a file beside, which takes the old one's place in one step; a reader sees the one or the other, and a
kill leaves at worst a file whose name begins with a dot. It is beside and not in a folder for temporary files, because a
name can only be moved within one file system, and a token in memory (tmpfs) must not touch a disk on its way.

A refresh token is used up by being shown. So room for its successor is taken before: if the disk is full, nothing is shown.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from extauthz.errors import ExtAuthzError

__all__ = ["ROOM", "Room", "StateFile"]

ROOM = 4096
"""Bytes that are taken before; a longer token takes more when it is written."""
_MOST = 65_536


class Room:
    """A place for a new content: a file beside, as large as the content may get."""

    def __init__(self, file: "StateFile", descriptor: int, name: Path) -> None:
        """Made by ``StateFile.room``."""
        self._file = file
        self._descriptor = descriptor
        self._name = name

    def take(self, mode: int) -> None:
        """Make the file as large as its content may get. Raises OSError."""
        os.fchmod(self._descriptor, mode)
        taken = 0
        while taken < ROOM:
            taken += os.write(self._descriptor, bytes(ROOM - taken))
        os.fsync(self._descriptor)

    def fill(self, token: str) -> None:
        """Put a token in the place of the old content. It is durable when this returns.

        Raises:
            OSError: It could not be written; the old content is there.
        """
        content = token.encode()
        written = 0
        while written < len(content):
            written += os.pwrite(self._descriptor, content[written:], written)
        os.ftruncate(self._descriptor, len(content))
        os.fsync(self._descriptor)
        self._name.replace(self._file.path)
        self._file.sync_folder()

    def release(self) -> None:
        """Give back what was not filled."""
        os.close(self._descriptor)
        with suppress(FileNotFoundError):
            self._name.unlink()


class StateFile:
    """A file that holds one token."""

    def __init__(self, path: str, mode: int = 0o600) -> None:
        """``mode`` are its permission bits."""
        self.path = Path(path)
        self._mode = mode

    def check(self) -> None:
        """Refuse a folder that is missing, or where everyone may replace files.

        Raises:
            ExtAuthzError: It is; the text says how to mend it.
        """
        folder = self.path.parent
        try:
            mode = folder.stat().st_mode
        except OSError as error:
            raise ExtAuthzError(f"{self.path}: its folder can't be used: {error.strerror}") from None
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ExtAuthzError(
                f"{self.path}: everyone may replace files in {folder}; remove that right (chmod o-w {folder})"
            )

    def read(self) -> str | None:
        """The token, without the line end that an editor leaves; None if there is none.

        Raises:
            OSError: It can't be read.
        """
        try:
            with self.path.open("rb") as opened:
                raw = opened.read(_MOST)
        except FileNotFoundError:
            return None
        try:
            return raw.decode("ascii").strip() or None
        except UnicodeDecodeError:
            return None

    def room(self) -> Room:
        """Take room for a new content.

        Raises:
            OSError: There is none.
        """
        # One name, so that what a kill left behind is overwritten and does not add up.
        name = self.path.with_name(f".{self.path.name}.new")
        with suppress(FileNotFoundError):
            name.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        room = Room(self, os.open(name, flags, 0o600), name)
        try:
            room.take(self._mode)
        except BaseException:
            room.release()
            raise
        return room

    def write(self, token: str) -> None:
        """Replace the content.

        Raises:
            OSError: It could not be written; the old content is there.
        """
        room = self.room()
        try:
            room.fill(token)
        finally:
            room.release()

    def remove(self) -> None:
        """Remove the file, if it is there.

        Raises:
            OSError: It is there and stays.
        """
        with suppress(FileNotFoundError):
            self.path.unlink()
            self.sync_folder()

    def sync_folder(self) -> None:
        """Make the folder's names durable."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
