"""The file of the SQLite store: made so that nobody else reads it, opened so that what it has acknowledged survives.

It is in WAL mode with ``synchronous=FULL``: a commit returns when it is on the disk, so it survives a loss of power as well
as a killed process, and readers never wait for writers. WAL needs memory that all its processes share, so they are on one
machine, and the file is not on a network's filesystem.
"""

import os
import sqlite3
import stat
import threading
import time
from pathlib import Path
from typing import Final

from extauthz.errors import StoreError
from extauthz.stores.sqlite_schema import STEPS, brought_up_to_date

__all__ = ["FileMarks", "marks_of", "open_file", "refuse_open", "told"]

FileMarks = tuple[int, ...]
"""What tells a file from another one: device and inode; exact ones tell from what it was before, too."""

_OTHERS: Final = stat.S_IRWXO
_OWNER: Final = 0o600
_PAUSE: Final = 0.005

_making = threading.Lock()
"""To close a file that SQLite has open in this process gives its locks away (POSIX), so nobody opens what is being made."""

_MEND: Final = {
    "SQLITE_BUSY": "another process keeps it locked: look which one, and whether a backup or a shell has it open",
    "SQLITE_FULL": "the disk is full: make room, nothing else has to be done",
    "SQLITE_NOTADB": "it is no SQLite database: set store.url to a file of its own, or restore a backup",
    "SQLITE_CORRUPT": "it is damaged: restore a backup, see docs/stores.md",
    "SQLITE_READONLY": "it can't be written to: give the user that extauthz runs as the file, its folder and a disk that is writable",
    "SQLITE_CANTOPEN": "it can't be opened: its folder must exist and be writable for the user that extauthz runs as",
    "SQLITE_IOERR": "the disk can't be read or written: look at the system's log, and at limits on the size of files",
}
"""By how the names of SQLite's errors begin."""


def marks_of(path: str, *, exact: bool = False) -> FileMarks | None:
    """Which file that is now; None: there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for each batch of work
    except FileNotFoundError:
        return None
    which = found.st_dev, found.st_ino
    return (*which, found.st_size, found.st_mtime_ns) if exact else which


def open_file(
    path: str, timeout: float, steps: tuple[tuple[str, ...], ...] = STEPS
) -> tuple[sqlite3.Connection, FileMarks | None]:
    """Open it, made and brought up to date if need be. The connection belongs to this thread.

    Raises:
        StoreError: It can't be used, and how that is mended.
    """
    connection: sqlite3.Connection | None = None
    try:
        with _making:
            _make(Path(path))
            connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
            opened = marks_of(path)
        brought_up_to_date(connection, steps)
        _settle(connection, timeout)
    except (sqlite3.Error, OSError, StoreError) as error:
        if connection is not None:
            connection.close()
        raise told(path, error) from error
    return connection, opened


def told(path: str, error: BaseException) -> StoreError:
    """What went wrong with this file and how to mend it. SQLite's errors hold no values."""
    name = getattr(error, "sqlite_errorname", "")
    for begin, mend in _MEND.items():
        if name.startswith(begin):
            return StoreError(f"{path}: {error}: {mend}")
    if isinstance(error, OSError):
        return StoreError(f"{path}: {error.strerror}: {_MEND['SQLITE_CANTOPEN']}")
    if isinstance(error, UnicodeEncodeError):
        return StoreError(f"{path}: a text that is not Unicode can't be kept")
    return StoreError(f"{path}: {error}")


def refuse_open(path: Path) -> None:
    """Raise StoreError if everybody may open it, or it is no file."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise StoreError("is no file: name a file in that folder")
    if mode & _OTHERS:
        message = "everybody on this machine may open it, and it holds keys of refresh tokens: chmod o-rwx it"
        raise StoreError(message)


def _make(path: Path) -> None:
    """An empty file that is its owner's, if there is none; an empty one is a database to SQLite."""
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(f"the folder {folder} does not exist: create it, for the user that extauthz runs as alone")
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER)
    except FileExistsError:
        refuse_open(path)
        return
    os.fchmod(made, _OWNER)
    os.close(made)
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _settle(connection: sqlite3.Connection, timeout: float) -> None:
    """WAL, and everything on the disk before it is acknowledged."""
    end = time.monotonic() + timeout
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself for whoever else does this now.
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
    if mode != "wal":
        raise StoreError("its disk can't have SQLite's WAL: use a disk of this machine, not a network's")
    for setting in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("PRAGMA trusted_schema = OFF")
