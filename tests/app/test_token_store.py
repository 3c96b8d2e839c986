"""What keeps the token service's records, as the configuration says."""

from pathlib import Path

import pytest

from extauthz.app.token_store import KeptTokens, token_store
from extauthz.config import load_config
from extauthz.errors import StoreError
from extauthz.stores import MemoryTokenStore, RedisTokenStore, SqliteTokenStore
from tests.owned_server import free_port
from tests.stores.redis_server import running
from tests.stores.token_stores import a_family


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def configured(**environ: str) -> KeptTokens:
    """What the defaults with these variables give."""
    return token_store(load_config(None, {f"EXTAUTHZ_{name}": value for name, value in environ.items()}), timeout=10)


async def test_without_a_store_records_are_in_memory_and_people_are_told() -> None:
    store = configured()
    assert isinstance(store, MemoryTokenStore)
    assert "set store.url" in await store.look()
    await store.close()


async def test_a_file_in_a_variable_is_relative_to_the_working_directory(tmp_path: Path) -> None:
    store = configured(STORE__URL="sqlite:state.db")
    assert isinstance(store, SqliteTokenStore)
    assert not (tmp_path / "state.db").exists()
    assert await store.look() == ""
    await store.begin(a_family())
    await store.close()
    assert (tmp_path / "state.db").exists()


async def test_a_folder_that_is_not_there_is_told_by_name() -> None:
    store = configured(STORE__URL="sqlite:nowhere/state.db")
    with pytest.raises(StoreError, match="the folder nowhere does not exist: create it"):
        await store.look()
    await store.close()


@pytest.mark.system("redis-server")
async def test_replicas_keep_records_in_redis(tmp_path: Path) -> None:
    with running(tmp_path, "appendonly yes", "appendfsync always") as server:
        store, other = configured(STORE__URL=server.url), configured(STORE__URL=server.url)
        assert isinstance(store, RedisTokenStore)
        family = a_family()
        await store.begin(family)
        assert await other.family(family.id) == family
        assert await store.look() == ""
        await store.close()
        await other.close()


async def test_a_store_that_is_not_there_is_told() -> None:
    store = configured(STORE__URL=f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match="does not answer as it should"):
        await store.look()
    await store.close()
