"""The thread that has the connection of the SQLite store, so that no disk ever holds up the event loop.

What is asked while it works is done next, together: one transaction and one wait for the disk for all of it, which is what
makes a store that waits for the disk fast. If anything of it fails, each piece is done again by itself. Nobody hears of
anything before the commit has returned. Who has stopped waiting before the turn came has asked for nothing.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from extauthz.errors import StoreError
from extauthz.stores.sqlite_file import FileMarks, marks_of, open_file, told
from extauthz.stores.sqlite_looking import look_into
from extauthz.stores.sqlite_schema import STEPS, schema_version

__all__ = ["SqliteThread", "Work"]

_T = TypeVar("_T")

Work = Callable[[sqlite3.Connection], _T]
"""Something that is done inside of a transaction, in the thread."""

_TOGETHER: Final = 256
"""Pieces of work of one transaction."""
_WAITING: Final = 4096
"""Pieces of work that may wait; more are refused at once."""
_WHICH: Final = 2
"""Marks that tell which file it is; exact ones are more."""
_TAKEN_AWAY: Final = "was taken away meanwhile: what was written is nowhere"


@dataclass(eq=False, slots=True)
class _Asked(Generic[_T]):
    work: Work[_T]
    writes: bool
    answer: asyncio.Future[_T]
    said: _T | Exception | None = None


class SqliteThread:
    """Belongs to one event loop; the thread begins with the first piece of work."""

    def __init__(
        self, path: str, timeout: float, steps: tuple[tuple[str, ...], ...] = STEPS, *, looking: bool = False
    ) -> None:
        """Open nothing yet. ``looking``: nothing is ever made or changed, and what would write is refused."""
        self._path = path
        self._timeout = timeout
        self._steps = steps
        self._looking = looking
        self._queue: queue.SimpleQueue[_Asked[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._marks: FileMarks | None = None

    async def ask(self, work: Work[_T], *, writes: bool) -> _T:
        """Have something done in a transaction; what it returns is on the disk.

        Raises:
            StoreError: It was not done, or not in time: then it may have been done nevertheless.
        """
        if self._queue.qsize() >= _WAITING:
            raise StoreError(f"{self._path}: {_WAITING} others wait for it already")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="extauthz-store", daemon=True)
            self._thread.start()
        asked = _Asked(work, writes, asyncio.get_running_loop().create_future())
        self._queue.put(asked)
        try:
            async with asyncio.timeout(self._timeout):
                answer: _T = await asked.answer
                return answer
        except TimeoutError:
            raise StoreError(f"{self._path}: no answer within {self._timeout:g} s") from None

    async def close(self) -> None:
        """Let what was asked be done, and close the file, as far as the disk lets us."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join, self._timeout)

    @property
    def file(self) -> str:
        """Which file it is now, for whoever keeps a place in it. Only pieces of work may ask."""
        return "" if self._marks is None else f"{self._marks[0]:x}.{self._marks[1]:x}"

    def _run(self) -> None:
        while True:
            asked = self._queue.get()
            if asked is None:
                break
            batch, ended = [asked], False
            with contextlib.suppress(queue.Empty):
                while len(batch) < _TOGETHER:
                    asked = self._queue.get_nowait()
                    if asked is None:
                        ended = True
                        break
                    batch.append(asked)
            # Who only reads waits neither for the disk nor for other processes.
            self._do([one for one in batch if not one.writes])
            self._do([one for one in batch if one.writes])
            if ended:
                break
        self._let_go()

    def _do(self, asked: list[_Asked[Any]]) -> None:
        batch = [one for one in asked if not one.answer.done()]
        if not batch:
            return
        # What could not be done together is done one by one, so that a damaged record harms nobody else.
        if not self._done(batch) and len(batch) > 1:
            for one in batch:
                self._done([one])
        loop = batch[0].answer.get_loop()
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, batch)

    def _done(self, batch: list[_Asked[Any]]) -> bool:
        """Whether it was done or can't be done at all; False: one by one, some of it may be."""
        try:
            connection = self._begun(writes=batch[0].writes)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is left waiting
            self._failed(batch, error)
            return True
        try:
            for one in batch:
                if not one.answer.done():
                    one.said = one.work(connection)
            self._commit(connection)
        except Exception as error:  # noqa: BLE001 - likewise
            self._failed(batch, error)
            return False
        return True

    def _failed(self, batch: list[_Asked[Any]], error: Exception) -> None:
        """Nothing of this happened. The next call opens the file anew, whatever was wrong with it."""
        for one in batch:
            one.said = error if isinstance(error, StoreError) else self._told(error)
        self._let_go()

    def _begun(self, *, writes: bool) -> sqlite3.Connection:
        if writes and self._looking:
            raise StoreError(f"{self._path}: is only looked at")
        while True:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            if self._looking or schema_version(connection) == len(self._steps):
                return connection
            # Another process has been upgraded: to open it again tells what that means.
            self._let_go()

    def _commit(self, connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")
        if not self._is_as_opened():
            what = "was written to while it was looked at: look again" if self._looking else _TAKEN_AWAY
            raise StoreError(f"{self._path}: {what}")

    def _opened(self) -> sqlite3.Connection:
        """The connection to the file that has this name now, whatever had it before."""
        if self._connection is not None and not self._is_as_opened():
            self._let_go()
        if self._connection is None:
            opened = look_into if self._looking else open_file
            self._connection, self._marks = opened(self._path, self._timeout, self._steps)
        return self._connection

    def _is_as_opened(self) -> bool:
        exact = self._marks is not None and len(self._marks) > _WHICH
        return marks_of(self._path, exact=exact) == self._marks

    def _told(self, error: Exception) -> StoreError:
        if self._looking and getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":
            # A table or a column that is not there: a server that starts would have made it.
            return StoreError(
                f"{self._path}: can't be read by this version of extauthz as it is ({error}): "
                "extauthz serve brings it up to date when it starts"
            )
        return told(self._path, error)

    def _let_go(self) -> None:
        if self._connection is not None:
            # What was begun is rolled back.
            self._connection.close()
        self._connection = self._marks = None


def _deliver(batch: list[_Asked[Any]]) -> None:
    for one in batch:
        if one.answer.done():
            continue
        if isinstance(one.said, Exception):
            one.answer.set_exception(one.said)
        else:
            one.answer.set_result(one.said)
