"""The file of the SQLite store: who may read it, what is told when it can't be used, and what happens to it."""

import asyncio
import os
import sqlite3
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from extauthz.errors import StoreError
from extauthz.stores import SqliteTokenStore
from extauthz.stores.sqlite_schema import STEPS, brought_up_to_date
from extauthz.stores.sqlite_thread import SqliteThread
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Outcome
from tests.full_disk import full_disk
from tests.stores.token_stores import PATIENCE, a_family, a_revocation, a_succession, digest

PLAIN = Client("shop", "client_secret_basic", frozenset({"client_credentials"}), ("https://orders",))

NOBODY = 65534


@contextmanager
def nobody() -> Iterator[None]:
    """Somebody who owns nothing here, for the superuser may write anything."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@asynccontextmanager
async def opened(path: Path, patience: float = PATIENCE) -> AsyncIterator[SqliteTokenStore]:
    store = SqliteTokenStore(str(path), timeout=patience)
    try:
        yield store
    finally:
        await store.close()


async def refusal(path: Path) -> str:
    """How a store says that it can't be used."""
    async with opened(path) as store:
        with pytest.raises(StoreError) as caught:
            await store.look()
    return str(caught.value)


def rights(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def take_away(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def back_up(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


class TestRights:
    async def test_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        """What SQLite puts beside it as well."""
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.begin(a_family())
            modes = rights(tmp_path)
        assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}

    async def test_a_file_that_everybody_may_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.look()
        path.chmod(0o604)
        assert "everybody on this machine may open it" in await refusal(path)
        path.chmod(0o660)  # what Kubernetes makes of it for an fsGroup
        async with opened(path) as store:
            assert await store.look() == ""

    async def test_no_digest_is_in_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        secret = b"canary-secret"
        async with opened(path) as store:
            await store.look()
            with closing(sqlite3.connect(path)) as other:
                other.execute("DROP TABLE families")
            with pytest.raises(StoreError) as caught:
                await store.begin(a_family(key=secret, current=secret, grant="canary-grant"))
        assert "canary" not in str(caught.value)


class TestDurability:
    async def test_a_commit_waits_for_the_disk(self, tmp_path: Path) -> None:
        """So a loss of power takes nothing that was acknowledged."""
        thread = SqliteThread(str(tmp_path / "state.db"), PATIENCE)
        names = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
        said = await thread.ask(
            lambda sqlite: [sqlite.execute(f"PRAGMA {name}").fetchone()[0] for name in names], writes=False
        )
        await thread.close()
        assert said == ["wal", 2, 1, 1]

    async def test_who_comes_together_waits_for_the_disk_together(self, tmp_path: Path) -> None:
        """Each record that many keep at once is in one of a few transactions."""
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.look()
            with closing(sqlite3.connect(path)) as other:
                before = other.execute("PRAGMA data_version").fetchone()[0]
                await asyncio.gather(*(store.begin(a_family()) for _ in range(200)))
                assert other.execute("PRAGMA data_version").fetchone()[0] - before <= 4
                assert other.execute("SELECT count(*) FROM families").fetchone() == (200,)


class TestFaults:
    async def test_a_text_that_is_not_unicode_is_refused_and_harms_nobody_beside_it(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "state.db") as store:
            said = await asyncio.gather(
                store.begin(a_family(subject="\ud800")),
                store.revoke([a_revocation("kept"), a_revocation("not kept")]),
                store.revoke([a_revocation("half"), a_revocation("\ud800")]),
                return_exceptions=True,
            )
            assert [str(one).partition(": ")[2] if one else None for one in said] == [
                "a text that is not Unicode can't be kept",
                None,
                "a text that is not Unicode can't be kept",
            ]
            assert [one.value for one in (await store.revocations()).revocations] == ["kept", "not kept"]

    async def test_a_folder_that_is_missing_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere" / "state.db"
        assert await refusal(path) == (
            f"{path}: the folder {path.parent} does not exist: create it, for the user that extauthz runs as alone"
        )

    async def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        assert "is no file: name a file in that folder" in await refusal(tmp_path)

    async def test_what_is_no_database_is_told_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("my notes\n" * 1000)
        path.chmod(0o600)
        assert "is no SQLite database: set store.url" in await refusal(path)
        assert path.read_text() == "my notes\n" * 1000

    async def test_the_database_of_another_program_is_told_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE notes (text)")
        path.chmod(0o600)
        before = path.read_bytes()
        assert "is the database of another program" in await refusal(path)
        assert path.read_bytes() == before

    async def test_a_damaged_file_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.revoke([a_revocation() for _ in range(500)])
        content = bytearray(path.read_bytes())
        for page in range(4096, len(content), 4096):
            content[page : page + 200] = b"\xa5" * 200
        path.write_bytes(content)
        async with opened(path) as store:
            with pytest.raises(StoreError, match="it is damaged: restore a backup"):
                await store.revocations()

    async def test_one_record_that_is_damaged_harms_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        async with opened(path) as store:
            for name in ("a", "b"):
                await store.put_client(Client(name, "client_secret_basic", frozenset(), ()), replace=False)
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("UPDATE clients SET record = substr(record, 2) WHERE id = 'a'")
            with pytest.raises(StoreError, match="the record of client 'a' can't be read"):
                await store.client("a")
            assert await store.client("b") is not None

    @pytest.mark.parametrize("change", ['"newer":1,', '"renew":0,"renew2":1,'])
    async def test_what_a_newer_version_wrote_is_not_read_in_part(self, tmp_path: Path, change: str) -> None:
        """The field that is not known could be what restricts the client."""
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.put_client(PLAIN, replace=False)
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("UPDATE clients SET record = '{' || ? || substr(record, 2)", (change,))
            with pytest.raises(StoreError, match="written by a newer version"):
                await store.client(PLAIN.id)

    async def test_who_keeps_it_locked_is_waited_for_no_longer_than_the_timeout(self, tmp_path: Path) -> None:
        """Who only reads is not kept waiting at all."""
        path = tmp_path / "state.db"
        async with opened(path, patience=0.3) as store:
            await store.put_client(PLAIN, replace=False)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreError, match=r"keeps it locked|no answer within"):
                    await store.begin(a_family())
                assert await store.client(PLAIN.id) == PLAIN
                other.execute("ROLLBACK")
            family = a_family()
            await asyncio.sleep(0.3)
            await store.begin(family)
            assert await store.family(family.id) == family

    async def test_a_slow_disk_does_not_hold_up_the_loop(self, tmp_path: Path) -> None:
        """Nor anybody who waits: each has an answer in time, and what nobody waits for is not done."""
        thread = SqliteThread(str(tmp_path / "state.db"), 0.2)
        release, done = threading.Event(), []
        await thread.ask(lambda sqlite: None, writes=True)
        stuck = asyncio.create_task(thread.ask(lambda sqlite: release.wait(10), writes=True))
        await asyncio.sleep(0)
        later = [asyncio.create_task(thread.ask(lambda sqlite: done.append(1), writes=True)) for _ in range(5)]
        for task in (stuck, *later):
            with pytest.raises(StoreError, match=r"no answer within 0.2 s"):
                await task
        release.set()
        await thread.close()
        assert done == []

    async def test_so_many_may_wait_and_no_more(self, tmp_path: Path) -> None:
        thread = SqliteThread(str(tmp_path / "state.db"), PATIENCE)
        release = threading.Event()
        tasks = [asyncio.create_task(thread.ask(lambda sqlite: release.wait(10), writes=False)) for _ in range(5000)]
        await asyncio.sleep(0.1)
        refused = [task for task in tasks if task.done()]
        release.set()
        said = await asyncio.gather(*tasks, return_exceptions=True)
        await thread.close()
        assert 0 < len(refused) < 1000
        assert sum(isinstance(one, StoreError) for one in said) == len(refused)

    async def test_a_full_disk_refuses_and_is_well_again_when_there_is_room(self, tmp_path: Path) -> None:
        """The system refuses to let the file grow, as a full disk does."""
        path = tmp_path / "state.db"
        family = a_family()
        async with opened(path) as store:
            await store.begin(family)
            with (
                full_disk((tmp_path / "state.db-wal").stat().st_size),
                pytest.raises(StoreError, match=r"disk is full|can't be read or written"),
            ):
                await store.revoke([a_revocation("lost" * 100) for _ in range(200)])
            assert list((await store.revocations()).revocations) == []
            await store.revoke([a_revocation("kept")])
            assert await store.family(family.id) == family

    async def test_a_file_that_may_not_be_written_is_told(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "state.db"
            async with opened(path) as store:
                await store.look()
            path.parent.chmod(0o755)
            path.chmod(0o440)
            if os.geteuid() == 0:
                os.chown(path, -1, NOBODY)
            with nobody():
                told = await refusal(path)
        assert "it can't be written to: give the user that extauthz runs as the file" in told

    async def test_several_processes_that_begin_together_make_one_store(self, tmp_path: Path) -> None:
        stores = [SqliteTokenStore(str(tmp_path / "state.db"), timeout=PATIENCE) for _ in range(16)]
        pages = await asyncio.gather(*(store.revocations() for store in stores))
        assert len({page.epoch for page in pages}) == 1
        for store in stores:
            await store.close()


class TestReplaced:
    async def test_what_is_written_while_the_file_is_taken_away_is_not_acknowledged(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        thread = SqliteThread(str(path), PATIENCE)
        await thread.ask(lambda sqlite: None, writes=True)
        with pytest.raises(StoreError, match="was taken away meanwhile"):
            await thread.ask(lambda sqlite: take_away(path), writes=True)
        await thread.ask(lambda sqlite: None, writes=True)
        await thread.close()

    async def test_what_is_kept_in_a_file_that_was_taken_away_is_not_acknowledged(self, tmp_path: Path) -> None:
        """The store begins anew, and shows it by another epoch."""
        path = tmp_path / "state.db"
        async with opened(path) as store:
            before = await store.revocations()
            take_away(path)
            await store.revoke([a_revocation("x")])
            after = await store.revocations(before.cursor, before.epoch)
        assert after.epoch != before.epoch
        async with opened(path) as other:
            page = await other.revocations()
        assert [one.value for one in page.revocations] == ["x"]

    async def test_an_older_file_that_is_put_back_shows_as_another_epoch(self, tmp_path: Path) -> None:
        """Whoever has seen what it lacks is told all that it has, however many were added since."""
        path, backup = tmp_path / "state.db", tmp_path / "backup.db"
        async with opened(path) as reader:
            async with opened(path) as store:
                await store.revoke([a_revocation("old")])
            back_up(path, backup)
            async with opened(path) as store:
                await store.revoke([a_revocation("lost"), a_revocation("lost too")])
            page = await reader.revocations()
            assert len(page.revocations) == 3
            take_away(path)
            backup.rename(path)
            after = await reader.revocations(page.cursor, page.epoch)
            assert after.epoch != page.epoch
            assert [one.value for one in after.revocations] == ["old"]

    async def test_an_older_file_that_has_overtaken_the_reader_is_read_from_its_beginning(self, tmp_path: Path) -> None:
        path, backup = tmp_path / "state.db", tmp_path / "backup.db"
        async with opened(path) as store:
            await store.revoke([a_revocation("old")])
            back_up(path, backup)
            await store.revoke([a_revocation("lost")])
            page = await store.revocations()
            take_away(path)
            backup.rename(path)
            await store.revoke([a_revocation("new"), a_revocation("newer")])
            after = await store.revocations(page.cursor, page.epoch)
        assert [one.value for one in after.revocations] == ["old", "new", "newer"]


class TestSchema:
    NEXT = ("ALTER TABLE clients ADD COLUMN note TEXT NOT NULL DEFAULT ''", "CREATE TABLE more (epoch TEXT)")

    @pytest.mark.parametrize("version", range(len(STEPS) + 1))
    async def test_each_former_version_becomes_the_present_one(self, tmp_path: Path, version: int) -> None:
        path, fresh = tmp_path / "state.db", tmp_path / "fresh.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as former:
            if version:
                brought_up_to_date(former, STEPS[:version])
        path.chmod(0o600)
        for file in (path, fresh):
            async with opened(file) as store:
                await store.look()
        assert [one for one in dump(path) if "INSERT" not in one] == [one for one in dump(fresh) if "INSERT" not in one]

    async def test_a_step_keeps_what_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        family = a_family()
        async with opened(path) as store:
            await store.begin(family)
            await store.revoke([a_revocation("x")])
            page = await store.revocations()
        with closing(sqlite3.connect(path, isolation_level=None)) as upgraded:
            brought_up_to_date(upgraded, (*STEPS, self.NEXT))
            assert upgraded.execute("PRAGMA user_version").fetchone() == (len(STEPS) + 1,)
            assert upgraded.execute("SELECT epoch FROM about").fetchone() == (page.epoch,)
            assert upgraded.execute("SELECT id FROM families").fetchone() == (family.id,)

    @pytest.mark.parametrize("broken", range(2))
    async def test_a_step_that_fails_leaves_the_file_as_it_was(self, tmp_path: Path, broken: int) -> None:
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.begin(a_family())
        before = dump(path)
        step = list(self.NEXT)
        step.insert(broken + 1, "CREATE TABLE clients (id)")
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as upgraded,
            pytest.raises(sqlite3.OperationalError, match="already exists"),
        ):
            brought_up_to_date(upgraded, (*STEPS, tuple(step)))
        assert dump(path) == before
        async with opened(path) as store:
            await store.look()

    async def test_a_newer_version_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as upgraded:
            brought_up_to_date(upgraded, (*STEPS, self.NEXT))
        path.chmod(0o600)
        before = dump(path)
        assert "start the newer extauthz again, or restore the backup" in await refusal(path)
        assert dump(path) == before

    async def test_who_still_runs_while_another_is_upgraded_keeps_nothing_more(self, tmp_path: Path) -> None:
        """What the new schema means is not known to it."""
        path = tmp_path / "state.db"
        async with opened(path) as store:
            await store.begin(a_family())
            with closing(sqlite3.connect(path, isolation_level=None)) as upgraded:
                brought_up_to_date(upgraded, (*STEPS, self.NEXT))
            for _ in range(2):
                with pytest.raises(StoreError, match="has schema version 2"):
                    await store.begin(a_family())


async def test_a_backup_is_made_while_the_store_is_used(tmp_path: Path) -> None:
    """It holds all that was acknowledged before it began."""
    path, copy = tmp_path / "state.db", tmp_path / "backup.db"
    family = a_family()
    async with opened(path) as store:
        await store.begin(family)

        async def use() -> None:
            last = 1
            while True:
                done = await store.rotate(family.id, a_succession(last, last + 1))
                assert done.outcome is Outcome.ROTATED
                last += 1

        using = asyncio.create_task(use())
        await asyncio.sleep(0.05)
        await store.revoke([a_revocation("acknowledged")])
        await asyncio.to_thread(back_up, path, copy)
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)
    async with opened(copy) as restored:
        assert [one.value for one in (await restored.revocations()).revocations] == ["acknowledged"]
        found = await restored.family(family.id)
    assert found is not None
    assert found.current == digest(found.generation + 1)
