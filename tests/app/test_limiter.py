"""What counts rates, as the configuration says; and what readiness tells of a shared store."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from extauthz.app.limiter import RateLimiter, rate_limiter
from extauthz.config import Config, load_config
from extauthz.limits import MemoryLimiter, SharedLimiter
from extauthz.model import Charge, Permit, Rate
from extauthz.serving import Readiness
from tests.owned_server import free_port
from tests.stores.redis_server import running

CHARGE = Charge(bytes(16), Rate(100), "policy", "rule")


def config(**environ: str) -> Config:
    """The defaults with these variables."""
    return load_config(None, {f"EXTAUTHZ_{name}": value for name, value in environ.items()})


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def limiter(**environ: str) -> RateLimiter:
    return rate_limiter(config(**environ), time.monotonic)


@asynccontextmanager
async def at_work(counted: RateLimiter, readiness: Readiness) -> AsyncIterator[None]:
    """With all that must run beside it."""
    tasks = [asyncio.ensure_future(task()) for task in counted.tasks(readiness).values()]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def told(readiness: Readiness, fact: Callable[[str], bool]) -> str:
    """What readiness tells of the store, as soon as it is like that."""
    async with asyncio.timeout(15):
        while True:
            text = next((line for line in readiness.report() if "store" in line), "")
            if fact(text):
                return text
            await asyncio.sleep(0.02)


def test_without_a_store_rates_are_counted_in_memory_and_nothing_runs_beside() -> None:
    counted = limiter()
    assert isinstance(counted.limiter, MemoryLimiter)
    assert counted.store is None
    assert not counted.tasks(Readiness([]))


def test_memory_has_room_for_as_many_callers_as_the_setting_says() -> None:
    counted = limiter(LIMITS__MAXKEYS="1000")
    for number in range(3000):
        counted.limiter.take(CHARGE._replace(key=number.to_bytes(16)))
    assert counted.memory().keys <= 1000


@pytest.mark.system("redis-server")
async def test_readiness_tells_how_many_share_the_store(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        counted, readiness = limiter(STORE__URL=server.url, LIMITS__TIMEOUT="2s"), Readiness([])
        async with at_work(counted, readiness):
            text = await told(readiness, lambda text: "replica" in text)
            assert text == "[+] store: 1 replica"
            assert isinstance(counted.limiter, SharedLimiter)
            said = counted.limiter.take(CHARGE)
            assert not isinstance(said, Permit)
            assert isinstance(await said.settle(), Permit)  # type: ignore[union-attr]


@pytest.mark.system("redis-server")
async def test_readiness_warns_of_a_store_that_evicts(tmp_path: Path) -> None:
    with running(tmp_path, "maxmemory 100mb", "maxmemory-policy allkeys-lru") as server:
        counted, readiness = limiter(STORE__URL=server.url, LIMITS__TIMEOUT="2s"), Readiness([])
        async with at_work(counted, readiness):
            text = await told(readiness, lambda text: "1 replica;" in text)
    assert text.startswith("[+] store: 1 replica; maxmemory-policy is allkeys-lru")


async def test_a_store_that_is_down_is_told_and_keeps_nobody_from_being_ready() -> None:
    counted, readiness = limiter(STORE__URL=f"redis://127.0.0.1:{free_port()}"), Readiness([])
    ready = readiness.report()[-1]
    async with at_work(counted, readiness):
        text = await told(readiness, lambda text: text.startswith("[-]"))
        assert "onnect" in text
        assert readiness.report()[-1] == ready
        assert counted.store is not None
        assert not counted.store().available


@pytest.mark.system("redis-server")
async def test_a_server_that_stops_is_counted_no_more(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        counted, readiness = limiter(STORE__URL=server.url, LIMITS__TIMEOUT="2s"), Readiness([])
        async with at_work(counted, readiness):
            await told(readiness, lambda text: "replica" in text)
            assert server.command("ZCARD", "extauthz:{replicas}") == "1"
        assert server.command("ZCARD", "extauthz:{replicas}") == "0"
