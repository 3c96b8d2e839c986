"""The token service's records in one SQLite file: for one machine, with any number of processes on it.

What a call has returned is on the disk. Writers take turns (``BEGIN IMMEDIATE``), so whatever reads and then writes is one
step for all processes; readers wait for nobody. What can be long, to end or forget many or to read all that was revoked, is
done in parts, each a transaction of its own, so that nobody who refreshes a token waits for all of it.

The file knows its schema (``sqlite_schema``), is opened with care (``sqlite_file``), and never by the event loop's thread
(``sqlite_thread``).
"""

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any, Final, NamedTuple

from extauthz.errors import StoreError
from extauthz.stores.client_records import client_of, record_of
from extauthz.stores.families import rotation, selects
from extauthz.stores.revocations import joined
from extauthz.stores.sqlite_thread import SqliteThread
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Family, Outcome, Revocation, RevocationPage, Rotation, Succession

__all__ = ["SqliteTokenStore"]

_PART: Final = 1000
"""Records that one transaction ends or forgets."""
_PAGE: Final = 5000
"""Revocations that one transaction reads."""

_FAMILY: Final = """SELECT id, key, client_id, subject, "grant", created, expires, idle_until, current, previous, sealed,
  rotated, generation, revoked FROM families WHERE id = ?"""
_BEGIN: Final = """INSERT INTO families (id, key, client_id, subject, "grant", created, expires, idle_until, current,
  previous, sealed, rotated, generation, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_ROTATE: Final = """UPDATE families SET current = ?, previous = ?, sealed = ?, rotated = ?, idle_until = ?, generation = ?
WHERE id = ?"""
_END: Final = {
    (True, False): "UPDATE families SET revoked = 1 WHERE id IN "
    "(SELECT id FROM families WHERE NOT revoked AND client_id = ? LIMIT ?)",
    (False, True): "UPDATE families SET revoked = 1 WHERE id IN "
    "(SELECT id FROM families WHERE NOT revoked AND subject = ? LIMIT ?)",
    (True, True): "UPDATE families SET revoked = 1 WHERE id IN "
    "(SELECT id FROM families WHERE NOT revoked AND client_id = ? AND subject = ? LIMIT ?)",
}
"""By whether a client and whether a subject is given."""
_REVOKE: Final = """INSERT INTO revocations (place, kind, value, before, until) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, value) DO UPDATE SET place = excluded.place, before = excluded.before, until = excluded.until"""
_CLAIM: Final = """INSERT INTO names (name, until) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE names.until <= ?"""
_FORGET: Final = (
    "DELETE FROM families WHERE id IN (SELECT id FROM families WHERE min(expires, idle_until) <= ? LIMIT ?)",
    "DELETE FROM revocations WHERE place IN (SELECT place FROM revocations WHERE until <= ? LIMIT ?)",
    "DELETE FROM names WHERE name IN (SELECT name FROM names WHERE until <= ? LIMIT ?)",
)


class _Part(NamedTuple):
    epoch: str
    cursor: str
    revocations: Sequence[Revocation]
    whole: bool
    """It begins at the beginning, whatever was asked."""
    more: bool


class SqliteTokenStore:
    """Implements ``extauthz.tokens.ports.TokenStore``: durable as soon as a call returns, for the processes of one machine."""

    def __init__(self, path: str, *, timeout: float = 1.0, looking: bool = False) -> None:
        """Open nothing yet. ``timeout`` is for each call, or each part of a long one, in seconds.

        ``looking``: the file, and what is beside it, stays as it is; whatever would change it raises StoreError.
        """
        self._thread = SqliteThread(path, timeout, looking=looking)

    async def client(self, client_id: str) -> Client | None:
        """A registered client."""

        def work(sqlite: sqlite3.Connection) -> str | None:
            row = sqlite.execute("SELECT record FROM clients WHERE id = ?", (client_id,)).fetchone()
            return None if row is None else row[0]

        record = await self._thread.ask(work, writes=False)
        return None if record is None else client_of(client_id, record)

    async def clients(self) -> Sequence[Client]:
        """All of them, sorted by id."""
        rows: list[tuple[str, str]] = await self._thread.ask(
            lambda sqlite: sqlite.execute("SELECT id, record FROM clients").fetchall(), writes=False
        )
        return [client_of(client_id, record) for client_id, record in sorted(rows)]

    async def put_client(self, client: Client, *, replace: bool) -> bool:
        """Register a client, or put it in the place of the one of that id."""
        record = record_of(client)
        if replace:
            return await self._changes("UPDATE clients SET record = ? WHERE id = ?", record, client.id) == 1
        statement = "INSERT INTO clients (record, id) VALUES (?, ?) ON CONFLICT DO NOTHING"
        return await self._changes(statement, record, client.id) == 1

    async def remove_client(self, client_id: str) -> bool:
        """Forget a client; False if there is none."""
        return await self._changes("DELETE FROM clients WHERE id = ?", client_id) == 1

    async def begin(self, family: Family) -> None:
        """Keep a new family. Raises StoreError if there is one of that id: it could be a revoked one."""
        if await self._changes(_BEGIN, *astuple(family)) == 0:
            raise StoreError("there is a family of that id already: ids are made at random, never again")

    async def family(self, family_id: str) -> Family | None:
        """A family as it is."""
        return await self._thread.ask(lambda sqlite: _read(sqlite, family_id), writes=False)

    async def rotate(self, family_id: str, succession: Succession) -> Rotation:
        """Let one refresh token follow another."""

        def work(sqlite: sqlite3.Connection) -> Rotation:
            family = _read(sqlite, family_id)
            if family is None:
                return Rotation(Outcome.UNKNOWN)
            done = rotation(family, succession)
            after = done.family
            if done.outcome is Outcome.ROTATED and after is not None:
                kept = (after.current, after.previous, after.sealed, after.rotated, after.idle_until, after.generation)
                sqlite.execute(_ROTATE, (*kept, family_id))
            elif done.outcome is Outcome.REUSED:
                sqlite.execute("UPDATE families SET revoked = 1 WHERE id = ?", (family_id,))
            return done

        return await self._thread.ask(work, writes=True)

    async def end_family(self, family_id: str) -> Family | None:
        """Revoke a family; None if there is none."""

        def work(sqlite: sqlite3.Connection) -> Family | None:
            sqlite.execute("UPDATE families SET revoked = 1 WHERE id = ?", (family_id,))
            return _read(sqlite, family_id)

        return await self._thread.ask(work, writes=True)

    async def end_families(self, *, client_id: str | None = None, subject: str | None = None) -> int:
        """Revoke families; gives how many were not before."""
        selects(client_id, subject)
        given = [one for one in (client_id, subject) if one is not None]
        return await self._in_parts(_END[client_id is not None, subject is not None], *given)

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations, all or none."""

        def work(sqlite: sqlite3.Connection) -> None:
            (place,) = sqlite.execute("SELECT place FROM about").fetchone()
            for revocation in revocations:
                kind, value = revocation.kind, revocation.value
                known = sqlite.execute(
                    "SELECT before, until FROM revocations WHERE kind = ? AND value = ?", (kind, value)
                ).fetchone()
                before = None if known is None else Revocation(kind, value, *known)
                whole = joined(before, revocation)
                if whole != before:
                    place += 1
                    sqlite.execute(_REVOKE, (place, kind, value, whole.before, whole.until))
            sqlite.execute("UPDATE about SET place = ?", (place,))

        await self._thread.ask(work, writes=True)

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor of this epoch and file, or all."""
        found: list[Revocation] = []
        while True:
            part = await self._thread.ask(self._part(after, epoch), writes=False)
            if part is None:
                # Somebody was told of a place that this file has not reached: an older one was put back.
                await self._changes("UPDATE about SET epoch = ? WHERE epoch = ?", secrets.token_hex(16), epoch)
                after = ""
                continue
            if part.whole:
                found = []
            found += part.revocations
            after, epoch = part.cursor, part.epoch
            if not part.more:
                return RevocationPage(epoch, after, found)

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time."""
        return await self._changes(_CLAIM, name, until, now) == 1

    async def purge(self, now: float) -> int:
        """Forget what has ended."""
        return sum([await self._in_parts(statement, now) for statement in _FORGET])

    async def look(self) -> str:
        """Try whether it can be written to; there is nothing more to know of it.

        Raises:
            StoreError: It can't, and how that is mended.
        """
        await self._thread.ask(_nothing, writes=True)
        return ""

    async def close(self) -> None:
        """Finish what was asked, and close the file."""
        await self._thread.close()

    def _part(self, after: str, epoch: str) -> Callable[[sqlite3.Connection], _Part | None]:
        """What follows after a cursor; None if the cursor is ahead of the file."""

        def work(sqlite: sqlite3.Connection) -> _Part | None:
            kept, last = sqlite.execute("SELECT epoch, place FROM about").fetchone()
            file, _, place = after.partition("-")
            told = int(place) if epoch == kept and place.isascii() and place.isdigit() else 0
            if told > last:
                return None
            whole = told == 0 or file != self._thread.file
            rows = sqlite.execute(
                "SELECT place, kind, value, before, until FROM revocations WHERE place > ? ORDER BY place LIMIT ?",
                (0 if whole else told, _PAGE),
            ).fetchall()
            more = len(rows) == _PAGE
            cursor = f"{self._thread.file}-{rows[-1][0] if more else last}"
            return _Part(kept, cursor, [Revocation(*row[1:]) for row in rows], whole=whole, more=more)

        return work

    async def _changes(self, statement: str, *values: Any) -> int:
        """How many rows a statement has changed."""
        return await self._thread.ask(lambda sqlite: sqlite.execute(statement, values).rowcount, writes=True)

    async def _in_parts(self, statement: str, *values: Any) -> int:
        total = 0
        while changed := await self._changes(statement, *values, _PART):
            total += changed
            if changed < _PART:
                break
        return total


def _read(sqlite: sqlite3.Connection, family_id: str) -> Family | None:
    row = sqlite.execute(_FAMILY, (family_id,)).fetchone()
    if row is None:
        return None
    values: tuple[Any, ...] = (*row[:-1], bool(row[-1]))
    return Family(*values)


def _nothing(_: sqlite3.Connection) -> None:
    """To have the lock for writing is all that is wanted."""
