"""What the page about stores tells people to type works: backup, the order of a restore, the rights of an account."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from extauthz.stores import SqliteTokenStore
from extauthz.tokens.records import Outcome
from tests.conftest import PROJECT
from tests.stores.token_stores import NOW, PATIENCE, a_family, a_revocation, a_succession

PAGE = (PROJECT / "docs" / "stores.md").read_text("utf-8")


def statements() -> list[str]:
    """The blocks of SQL of the page."""
    return re.findall(r"^ *```sql\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_a_restored_store_knows_what_was_revoked_since_the_backup(tmp_path: Path) -> None:
    """And the families of the backup are gone with the second statement."""
    path, backup, newest = tmp_path / "state.db", tmp_path / "backup.db", tmp_path / "restore"
    newest.mkdir()
    [copy] = re.findall(r'^sqlite3 /var/lib/extauthz/state.db "(VACUUM INTO) ', PAGE, re.MULTILINE)
    family = a_family()
    store = SqliteTokenStore(str(path), timeout=PATIENCE)
    await store.begin(family)
    await store.revoke([a_revocation("old"), a_revocation("longer", until=NOW + 10), a_revocation("same")])
    with closing(sqlite3.connect(path)) as shell:
        shell.execute(f"{copy} '{backup}'")
    backup.chmod(0o600)
    await store.revoke([a_revocation("new"), a_revocation("longer", until=NOW + 500)])
    page = await store.revocations()
    await store.close()

    for end in ("", "-wal", "-shm"):
        if (file := path.with_name(path.name + end)).exists():
            file.rename(newest / file.name)
    backup.rename(path)
    revocations, families = statements()
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(revocations.replace("/restore/", f"{newest}/"))
    restored = SqliteTokenStore(str(path), timeout=PATIENCE)
    after = await restored.revocations(page.cursor, page.epoch)
    assert after.epoch != page.epoch
    assert {one.value: one.until for one in after.revocations} == {one.value: one.until for one in page.revocations}
    await restored.revoke([a_revocation("newer")])
    assert [one.value for one in (await restored.revocations(after.cursor, after.epoch)).revocations] == ["newer"]

    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(families)
    done = await restored.rotate(family.id, a_succession(1, 2))
    assert done.outcome is Outcome.ENDED
    await restored.close()


@pytest.mark.parametrize("file", ["test_redis_tokens.py"])
def test_the_rights_of_an_account_are_those_that_are_tried(file: str) -> None:
    """By a test with a real server."""
    [rights] = re.findall(r"An ACL user needs no more than `(.*?)`", PAGE)
    assert f'"{rights}"' in (PROJECT / "tests" / "stores" / file).read_text("utf-8")


@pytest.mark.parametrize("text", re.findall(r"^\| `(.*?)` \|", PAGE.partition("| it says |")[2], re.MULTILINE))
def test_what_it_says_is_what_it_says(text: str) -> None:
    """The texts of the table are in the code."""
    sources = "".join(file.read_text("utf-8") for file in (PROJECT / "extauthz" / "stores").glob("sqlite_*.py"))
    for part in re.split(r"\.\.\.|\b\d+\b", text):
        assert part.strip() in sources.replace("{version}", "").replace("{len(steps)}", ""), part
