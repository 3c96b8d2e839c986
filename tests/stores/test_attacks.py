"""Ways to get more than the rate out of a shared store, or to fill it: each is tried here, and fails."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from extauthz.limits import Counted, Wanted
from extauthz.model import Rate
from extauthz.stores import RedisCounters
from tests.stores.redis_server import RedisServer

pytestmark = pytest.mark.system("redis-server")

KEY = bytes(range(16))
NAME = f"extauthz:rate:{{{KEY.hex()}}}"


@pytest.fixture
async def counters(redis_server: RedisServer) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(redis_server.settings())
    try:
        yield counters
    finally:
        await counters.close()


async def granted(counters: RedisCounters, *asked: Wanted) -> int:
    said = await asyncio.gather(*(counters.ask(wanted) for wanted in asked))
    return sum(one.granted for one in said)


async def test_replicas_of_a_rollout_together_grant_no_more_than_the_higher_rate(counters: RedisCounters) -> None:
    """One has the new policy and one the old; leases or not."""
    old, new = Wanted(KEY, Rate(200)), Wanted(KEY, Rate(100), 7, 2)
    assert await granted(counters, *[old, new] * 200) == 200


async def test_who_was_refused_a_thousand_times_has_written_nothing(
    counters: RedisCounters, redis_server: RedisServer
) -> None:
    await granted(counters, *[Wanted(KEY, Rate(1))] * 2)
    before = redis_server.command("INFO", "persistence").partition("rdb_changes_since_last_save:")[2].split()[0]
    await granted(counters, *[Wanted(KEY, Rate(1))] * 1000)
    after = redis_server.command("INFO", "persistence").partition("rdb_changes_since_last_save:")[2].split()[0]
    assert after == before


async def test_the_key_of_a_caller_has_a_bound_and_an_end(counters: RedisCounters, redis_server: RedisServer) -> None:
    """However many permits, a second is one entry."""
    await granted(counters, *[Wanted(KEY, Rate(1_000_000), 7, 2), Wanted(KEY, Rate(1_000_000))] * 1000)
    assert int(redis_server.command("STRLEN", NAME)) < 100
    assert 0 < int(redis_server.command("TTL", NAME)) <= 64


async def test_no_caller_is_told_to_the_store(counters: RedisCounters, redis_server: RedisServer) -> None:
    await granted(counters, Wanted(KEY, Rate(5)))
    await counters.heartbeat()
    assert sorted(redis_server.command("KEYS", "*").split()) == [NAME, "extauthz:{replicas}"]


async def test_replicas_that_are_gone_are_counted_no_longer_than_fifteen_seconds(
    counters: RedisCounters, redis_server: RedisServer
) -> None:
    """Else whoever can crash a replica would lower everybody's local rate for good."""
    now = int(time.time())
    for number in range(50):
        redis_server.command("ZADD", "extauthz:{replicas}", str(now - 20), f"gone-{number}")
        redis_server.command("ZADD", "extauthz:{replicas}", str(now + 1_000_000), f"future-{number}")
    assert await counters.heartbeat() == 51
    redis_server.command("DEL", "extauthz:{replicas}")
    assert await counters.heartbeat() == 1


async def test_a_clock_that_was_set_back_neither_opens_nor_locks_for_long(
    counters: RedisCounters, redis_server: RedisServer
) -> None:
    """What was used "in the future" counts as used now."""
    at = int(time.time()) + 100_000
    script = "redis.call('SET', KEYS[1], cmsgpack.pack({tonumber(ARGV[1]), 5}))"
    redis_server.command("EVAL", script, "1", NAME, str(at))
    said = await counters.ask(Wanted(KEY, Rate(6)))
    assert said.granted == 1
    refused = await counters.ask(Wanted(KEY, Rate(6)))
    assert refused.granted == 0
    assert refused.wait <= 62
    assert int(redis_server.command("TTL", NAME)) <= 62


async def test_nobody_who_gives_up_is_charged_twice(counters: RedisCounters) -> None:
    """A flood of requests that do not wait for their answers leaves the others alone."""
    for _ in range(50):
        answers = [counters.ask(Wanted(KEY, Rate(30))) for _ in range(10)]
        for answer in answers[1:]:
            answer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            said = await answers[0]
            assert isinstance(said, Counted)
    assert await granted(counters, *[Wanted(KEY, Rate(60))] * 100) == 30
