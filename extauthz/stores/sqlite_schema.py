"""The tables of the SQLite store, in steps: each version of the schema is the one before it and one step more.

A file says in ``user_version`` how many steps it has had, and in ``application_id`` that it is ours. The steps that it lacks
are taken in one transaction: a crash between two of them leaves the file as it was. A step that was ever released is never
changed. A file with more steps than this version knows is refused: what they mean is not known here.
"""

import secrets
import sqlite3
from typing import Final

from extauthz.errors import StoreError

__all__ = ["STEPS", "SchemaError", "brought_up_to_date", "checked_version", "schema_version"]

_APPLICATION: Final = 0x65787A74
"""``exzt``: tells ``file(1)`` and us whose file it is."""

_FIRST: Final = (
    """CREATE TABLE about (
      one INTEGER PRIMARY KEY CHECK (one = 1),
      epoch TEXT NOT NULL,
      place INTEGER NOT NULL -- of the last revocation
    )""",
    "INSERT INTO about VALUES (1, :epoch, 0)",
    "CREATE TABLE clients (id TEXT PRIMARY KEY NOT NULL, record TEXT NOT NULL)",
    """CREATE TABLE families (
      id TEXT PRIMARY KEY NOT NULL,
      key BLOB NOT NULL,
      client_id TEXT NOT NULL,
      subject TEXT NOT NULL,
      "grant" TEXT NOT NULL,
      created REAL NOT NULL,
      expires REAL NOT NULL,
      idle_until REAL NOT NULL,
      current BLOB NOT NULL,
      previous BLOB NOT NULL,
      sealed BLOB NOT NULL,
      rotated REAL NOT NULL,
      generation INTEGER NOT NULL,
      revoked INTEGER NOT NULL
    )""",
    "CREATE INDEX families_of_client ON families (client_id, subject) WHERE NOT revoked",
    "CREATE INDEX families_of_subject ON families (subject) WHERE NOT revoked",
    "CREATE INDEX families_end ON families (min(expires, idle_until))",
    """CREATE TABLE revocations (
      place INTEGER PRIMARY KEY,
      kind TEXT NOT NULL,
      value TEXT NOT NULL,
      before REAL NOT NULL,
      until REAL NOT NULL,
      UNIQUE (kind, value)
    )""",
    "CREATE INDEX revocations_end ON revocations (until)",
    "CREATE TABLE names (name TEXT PRIMARY KEY NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX names_end ON names (until)",
)

STEPS: Final[tuple[tuple[str, ...], ...]] = (_FIRST,)
"""What makes each version from the one before it, in SQL; ``:epoch`` is a new random text."""


class SchemaError(StoreError):
    """The file is of another program, or of a newer version of this one."""


def schema_version(connection: sqlite3.Connection) -> int:
    """How many steps a file has had."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def brought_up_to_date(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Take the steps that a file lacks, all or none. The connection is in no transaction.

    Raises:
        SchemaError: The file is none that this version can use; it is left as it was.
        sqlite3.Error: It can't be read or written.
    """
    if checked_version(connection, steps) == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        done = _version(connection, steps)
        for step in steps[done:]:
            for statement in step:
                names = {"epoch": secrets.token_hex(16)} if ":epoch" in statement else {}
                connection.execute(statement, names)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def checked_version(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> int:
    """The version, without writing anything to what may be another's file; 0 if it has no tables yet.

    Raises:
        SchemaError: It is another's, or a newer one.
        sqlite3.Error: It can't be read.
    """
    connection.execute("BEGIN")
    try:
        return _version(connection, steps)
    finally:
        connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...]) -> int:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version = schema_version(connection)
    if application != _APPLICATION and (tables or version or application):
        raise SchemaError("is the database of another program: set store.url to a file of its own")
    if version > len(steps):
        raise SchemaError(
            f"has schema version {version}, and this version of extauthz knows {len(steps)} at most: "
            "start the newer extauthz again, or restore the backup that was made before the upgrade"
        )
    return version
