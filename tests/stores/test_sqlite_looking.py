"""A command that looks into the SQLite store: it reads what a server reads, and neither makes nor changes anything."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from extauthz.errors import StoreError
from extauthz.stores import SqliteTokenStore
from extauthz.stores.sqlite_schema import STEPS
from extauthz.stores.sqlite_thread import SqliteThread
from tests.stores.test_sqlite_file import NOBODY, nobody
from tests.stores.token_stores import PATIENCE, a_family, a_revocation

SERVER = """
import asyncio, sys
from extauthz.stores import SqliteTokenStore
from tests.stores.token_stores import PATIENCE, a_revocation

async def serve():
    store = SqliteTokenStore(sys.argv[1], timeout=PATIENCE)
    for line in iter(sys.stdin.readline, ""):
        await store.revoke([a_revocation(line.strip())])
        print("done", flush=True)
    await store.close()

asyncio.run(serve())
"""
NEXT_STEPS = (*STEPS, ("CREATE TABLE notes (text TEXT)",))
"""As of a version to come."""


class Server:
    """Another process that has the file open, as a server has."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def revoke(self, name: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


@contextmanager
def server(path: Path) -> Iterator[Server]:
    arguments = [sys.executable, "-c", SERVER, str(path)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Server(process)
        finally:
            process.kill()


@asynccontextmanager
async def looking(path: Path) -> AsyncIterator[SqliteTokenStore]:
    store = SqliteTokenStore(str(path), timeout=PATIENCE, looking=True)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a store that a server has closed, in which ``old`` is revoked."""
    (tmp_path / "kept").mkdir()
    store = SqliteTokenStore(str(tmp_path / "kept" / "state.db"), timeout=PATIENCE)
    await store.revoke([a_revocation("old")])
    await store.close()
    return tmp_path / "kept"


async def revoked(path: Path) -> list[str]:
    """What a command sees."""
    async with looking(path) as store:
        return [one.value for one in (await store.revocations()).revocations]


async def refusal(path: Path) -> str:
    """What a command is told."""
    async with looking(path) as store:
        with pytest.raises(StoreError) as caught:
            await store.revocations()
    return str(caught.value)


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """A folder and what is in it: when it was changed, and what it holds."""
    files = {file.name: (file.stat().st_mtime_ns, file.stat().st_mode, file.read_bytes()) for file in folder.iterdir()}
    return {**files, ".": (folder.stat().st_mtime_ns, folder.stat().st_mode, b"")}


class TestNothingChanges:
    async def test_where_nobody_has_it_open(self, folder: Path) -> None:
        """A server would leave a ``-wal`` and a ``-shm`` beside it; so would SQLite that may only read."""
        before = everything(folder)
        assert await revoked(folder / "state.db") == ["old"]
        assert everything(folder) == before
        assert before.keys() == {".", "state.db"}

    async def test_beside_a_server(self, folder: Path) -> None:
        """What it has acknowledged is seen, at once."""
        with server(folder / "state.db") as running:
            running.revoke("new")
            before = everything(folder)
            assert await revoked(folder / "state.db") == ["old", "new"]
            assert everything(folder) == before
            async with looking(folder / "state.db") as store:
                assert len((await store.revocations()).revocations) == 2
                running.revoke("newer")
                assert len((await store.revocations()).revocations) == 3
            running.revoke("newest")
            assert await revoked(folder / "state.db") == ["old", "new", "newer", "newest"]

    async def test_after_a_server_was_killed(self, folder: Path) -> None:
        """What it has acknowledged is in the ``-wal``. To mend what it left is for the next server."""
        with server(folder / "state.db") as running:
            running.revoke("new")
            running.kill()
        before = everything(folder)
        assert before["state.db-wal"][2]
        assert await revoked(folder / "state.db") == ["old", "new"]
        assert everything(folder) == before

    async def test_a_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        assert await refusal(path) == (
            f"{path}: is not there: extauthz serve makes it when it starts, and nothing is kept before"
        )
        assert list(tmp_path.iterdir()) == []

    async def test_an_empty_file_is_told(self, tmp_path: Path) -> None:
        """To SQLite it is a database, to which a server would give tables."""
        path = tmp_path / "state.db"
        path.touch(0o600)
        assert "is empty: extauthz serve makes its tables" in await refusal(path)
        assert everything(tmp_path)["state.db"][2] == b""

    async def test_nothing_can_be_written(self, folder: Path) -> None:
        """Whatever a command asks for by mistake."""
        before = everything(folder)
        async with looking(folder / "state.db") as store:
            for asked in (store.begin(a_family()), store.revoke([a_revocation()]), store.look(), store.purge(9e9)):
                with pytest.raises(StoreError, match="is only looked at"):
                    await asked
        assert everything(folder) == before


class TestSchemas:
    async def test_an_older_one_is_read_and_left_as_it_is(self, folder: Path) -> None:
        """What needs the newer one says how it is made."""
        before = everything(folder)
        thread = SqliteThread(str(folder / "state.db"), PATIENCE, NEXT_STEPS, looking=True)
        count = "SELECT count(*) FROM revocations"
        assert await thread.ask(lambda sqlite: sqlite.execute(count).fetchone(), writes=False) == (1,)
        with pytest.raises(StoreError, match=r"no such table: notes.*extauthz serve brings it up to date"):
            await thread.ask(lambda sqlite: sqlite.execute("SELECT text FROM notes"), writes=False)
        await thread.close()
        assert everything(folder) == before

    async def test_a_newer_one_is_told(self, folder: Path) -> None:
        with closing(sqlite3.connect(folder / "state.db")) as other:
            other.execute("PRAGMA user_version = 9")
        assert "has schema version 9, and this version of extauthz knows 1 at most" in await refusal(
            folder / "state.db"
        )

    async def test_the_database_of_another_program_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE notes (text)")
        path.chmod(0o600)
        assert "is the database of another program" in await refusal(path)


class TestWhoMayOnlyRead:
    """Somebody in the group of the server's user, and a disk that can't be written to."""

    @pytest.mark.parametrize("runs", [False, True])
    async def test_the_file_and_its_folder(self, folder: Path, runs: bool) -> None:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name) / "state.db"
            shutil.copy(folder / "state.db", place)
            with server(place) as running:
                if runs:
                    running.revoke("new")
                readable(place.parent)
                before = everything(place.parent)
                with nobody():
                    assert await revoked(place) == (["old", "new"] if runs else ["old"])
                assert everything(place.parent) == before

    async def test_a_copy_without_what_was_written_last(self, folder: Path) -> None:
        """It would be taken from the ``-wal`` by whoever may make a ``-shm``. An older state is not shown for the present."""
        with server(folder / "state.db") as running:
            running.revoke("new")
            running.kill()
        (folder / "state.db-shm").unlink()
        before = everything(folder)
        assert "what was written last is in state.db-wal" in await refusal(folder / "state.db")
        assert everything(folder) == before

    async def test_a_file_that_everybody_may_read_is_refused_as_by_a_server(self, folder: Path) -> None:
        (folder / "state.db").chmod(0o644)
        assert "everybody on this machine may open it" in await refusal(folder / "state.db")


async def test_a_server_that_starts_while_a_command_looks_is_noticed(folder: Path) -> None:
    """The file is read without locks where nobody has it open: what changes under that is not half read."""
    path = folder / "state.db"
    thread = SqliteThread(str(path), PATIENCE, looking=True)

    def work(sqlite: sqlite3.Connection) -> int:
        (before,) = sqlite.execute("SELECT count(*) FROM revocations").fetchone()
        with server(path) as running:
            running.revoke("new")
            assert running.process.stdin is not None
            running.process.stdin.close()  # it ends, and writes all into the one file
            running.process.wait(PATIENCE)
        return int(before)

    with pytest.raises(StoreError, match="was written to while it was looked at: look again"):
        await thread.ask(work, writes=False)
    await thread.close()
    assert await revoked(path) == ["old", "new"]


def readable(folder: Path) -> None:
    """For a group, to be read and nothing else."""
    for place in (folder, *folder.iterdir()):
        if os.geteuid() == 0:
            os.chown(place, -1, NOBODY)
        place.chmod(0o550 if place.is_dir() else 0o440)
