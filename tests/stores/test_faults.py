"""What happens to a request when the store does not do its part: what its policy says, in time, and it ends by itself."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from extauthz.limits import SharedLimiter
from extauthz.model import Charge, Deny, Permit, Rate, Reason
from extauthz.stores import RedisCounters, StoreSettings
from tests.stores.redis_server import RedisServer, Road, running

pytestmark = pytest.mark.system("redis-server")

TIMEOUT = 0.1
SLACK = 0.5
"""What a busy machine may add."""
DENYING = Charge(b"d" * 16, Rate(1000), "policy", "rule")
LOCAL = Charge(b"l" * 16, Rate(10), "policy", "rule", local_without_store=True)


async def taken(limiter: SharedLimiter, what: Charge) -> Permit | Deny:
    said = limiter.take(what)
    return said if isinstance(said, Permit | Deny) else await said.settle()


@contextlib.asynccontextmanager
async def replica(port: int, *, leased: bool = False) -> AsyncIterator[SharedLimiter]:
    """A limiter at work, with its background task."""
    counters = RedisCounters(StoreSettings(f"redis://127.0.0.1:{port}", timeout=TIMEOUT))
    limiter = SharedLimiter(counters, clock=time.monotonic, timeout=TIMEOUT, leased=leased)
    background = asyncio.create_task(limiter.run())
    try:
        await until(lambda: not limiter.counts().error and limiter.counts().available)
        said = await taken(limiter, DENYING)
        assert isinstance(said, Permit), said
        yield limiter
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await counters.close()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not fact():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.01)


async def holds_without_store(limiter: SharedLimiter) -> None:
    """The setting of each policy holds, and nobody waits longer than they may."""
    for _ in range(5):
        begun = time.monotonic()
        said = await taken(limiter, DENYING)
        assert time.monotonic() - begun < TIMEOUT + SLACK
        assert isinstance(said, Deny), said
        assert (said.reason, said.policy, said.rule, said.retry_after) == (
            Reason.STORE_UNAVAILABLE,
            "policy",
            "rule",
            1,
        )
    # Counted here: this is the only replica, so the rate is the whole one. One more than it shows that there is one.
    said_to = [await taken(limiter, LOCAL) for _ in range(12)]
    assert sum(isinstance(said, Permit) and said.granted for said in said_to) <= 10
    assert not any(isinstance(said, Deny) for said in said_to)
    await until(lambda: not limiter.counts().available)
    # From now on nobody waits at all.
    assert isinstance(limiter.take(DENYING), Deny)
    assert isinstance(limiter.take(LOCAL), Permit)


async def recovers(limiter: SharedLimiter) -> None:
    await until(lambda: limiter.counts().available)
    said = await taken(limiter, DENYING)
    assert isinstance(said, Permit), said
    assert said.granted


async def test_a_killed_store_that_comes_back_empty(redis_server: RedisServer) -> None:
    async with replica(redis_server.port) as limiter:
        redis_server.stop()
        await holds_without_store(limiter)
        redis_server.start()
        await recovers(limiter)


async def test_a_paused_store(redis_server: RedisServer) -> None:
    async with replica(redis_server.port) as limiter:
        redis_server.send(signal.SIGSTOP)
        await holds_without_store(limiter)
        redis_server.send(signal.SIGCONT)
        await recovers(limiter)


async def test_a_slow_store(redis_server: RedisServer) -> None:
    async with Road(redis_server.port).open() as road, replica(road.port) as limiter:
        road.delay = 0.2
        await holds_without_store(limiter)
        road.delay = 0.0
        await recovers(limiter)


async def test_a_store_that_became_a_read_only_replica(redis_server: RedisServer) -> None:
    async with replica(redis_server.port) as limiter:
        redis_server.command("REPLICAOF", "127.0.0.1", "1")
        await holds_without_store(limiter)
        redis_server.command("REPLICAOF", "NO", "ONE")
        await recovers(limiter)


async def test_a_store_that_is_full(redis_server: RedisServer) -> None:
    async with replica(redis_server.port) as limiter:
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        await holds_without_store(limiter)
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
        await recovers(limiter)


async def test_a_store_that_evicts_is_told_of(tmp_path: Path) -> None:
    with running(tmp_path, "maxmemory 100mb", "maxmemory-policy allkeys-lru") as server:
        counters = RedisCounters(server.settings())
        try:
            await counters.heartbeat()
        finally:
            await counters.close()
    assert "allkeys-lru" in counters.warning


async def test_without_the_store_each_replica_grants_its_part(redis_server: RedisServer) -> None:
    async with replica(redis_server.port), replica(redis_server.port) as two:
        await until(lambda: two.counts().replicas == 2)
        redis_server.stop()
        await until(lambda: not two.counts().available)
        said = [await taken(two, LOCAL) for _ in range(10)]
    assert sum(isinstance(permit, Permit) and permit.granted for permit in said) == 5


async def test_many_who_wait_for_a_paused_store_wait_no_longer_than_one(redis_server: RedisServer) -> None:
    async with replica(redis_server.port) as limiter:
        redis_server.send(signal.SIGSTOP)
        begun = time.monotonic()
        said = await asyncio.gather(*(taken(limiter, DENYING) for _ in range(500)))
        assert time.monotonic() - begun < TIMEOUT + 2 * SLACK
    assert all(isinstance(one, Deny) for one in said)


async def test_leases_that_are_left_are_used_up_and_no_more(redis_server: RedisServer) -> None:
    async with replica(redis_server.port, leased=True) as limiter:
        redis_server.stop()
        said = [await taken(limiter, DENYING) for _ in range(40)]
    granted = [isinstance(one, Permit) for one in said]
    assert granted == sorted(granted, reverse=True)
    assert 0 < sum(granted) < 20


@pytest.mark.parametrize("error", ["ERR no such thing", "WRONGTYPE"])
async def test_one_bad_key_does_not_close_the_store_for_others(redis_server: RedisServer, error: str) -> None:
    name = f"extauthz:rate:{{{LOCAL.key.hex()}}}"
    redis_server.command(*(["LPUSH", name, "x"] if error == "WRONGTYPE" else ["SET", name, "rubbish"]))
    async with replica(redis_server.port) as limiter:
        said = [await taken(limiter, LOCAL) for _ in range(12)]
        other = await taken(limiter, DENYING)
        assert limiter.counts().available
    assert sum(isinstance(one, Permit) and one.granted for one in said) == 10
    assert isinstance(other, Permit)
