"""Looking into the file of the SQLite store and leaving it, and the folder that it is in, as they were: for commands.

A server opens it differently (``sqlite_file``): it makes a file, brings its schema up to date and has a ``-wal`` and a
``-shm`` beside it while it runs. Here SQLite may write nothing at all. If the two are there, what is committed is read with
their help, whether who made them runs or was killed. If they are not, nobody has the file open, all of it is in the one
file, and it is read as it lies there, which works on a disk that can't be written to as well.
"""

import sqlite3
from pathlib import Path
from typing import Final

from extauthz.errors import StoreError
from extauthz.stores.sqlite_file import FileMarks, marks_of, refuse_open, told
from extauthz.stores.sqlite_schema import STEPS, checked_version

__all__ = ["look_into"]

_BESIDE_OTHERS: Final = "mode=ro&readonly_shm=1"
"""Without the second, SQLite mends the ``-shm`` of somebody who was killed."""
_AT_REST: Final = "mode=ro&immutable=1"
"""Without the second, SQLite makes a ``-wal`` and a ``-shm``."""


def look_into(
    path: str, timeout: float, steps: tuple[tuple[str, ...], ...] = STEPS
) -> tuple[sqlite3.Connection, FileMarks]:
    """Open it to be read. The connection belongs to this thread. An older schema is left as it is.

    The marks are exact ones if the file is read as it lies there: once ``marks_of`` gives others, somebody has written to
    it, and what was read meanwhile may be half of before and half of after.

    Raises:
        StoreError: It is not there or can't be read, and how that is mended.
    """
    connection: sqlite3.Connection | None = None
    try:
        at_rest = _is_at_rest(path)
        marks = _marks(path, exact=at_rest)
        address = f"{Path(path).absolute().as_uri()}?{_AT_REST if at_rest else _BESIDE_OTHERS}"
        connection = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)
        _settle(connection, steps)
    except (sqlite3.Error, OSError, StoreError) as error:
        if connection is not None:
            connection.close()
        raise told(path, error) from error
    return connection, marks


def _marks(path: str, *, exact: bool) -> FileMarks:
    marks = marks_of(path, exact=exact)
    if marks is None:
        raise StoreError("is not there: extauthz serve makes it when it starts, and nothing is kept before")
    refuse_open(Path(path))
    return marks


def _settle(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...]) -> None:
    if checked_version(connection, steps) == 0:
        raise StoreError("is empty: extauthz serve makes its tables when it starts, and nothing is kept before")
    for setting in ("cell_size_check = ON", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {setting}")


def _is_at_rest(path: str) -> bool:
    """Whether all of it is in the one file.

    Raises:
        StoreError: It is not, and what is missing to read the rest would have to be made.
    """
    wal, shm, journal = (Path(path + end) for end in ("-wal", "-shm", "-journal"))
    if wal.exists() and shm.exists():
        return False
    for beside in (wal, journal):
        if beside.exists() and beside.stat().st_size:
            raise StoreError(
                f"what was written last is in {beside.name}, where only somebody who may write can take it from: "
                "start extauthz serve, or look at a copy of both files with the sqlite3 command"
            )
    return True
