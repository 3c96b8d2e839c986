"""Rates counted in a real Redis: exact, together for all replicas, in one round trip."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from extauthz.limits import CountersError, SharedLimiter, Wanted, lease_size
from extauthz.model import Charge, Deny, Permit, Rate
from extauthz.stores import RedisCounters, StoreSettings
from tests.stores.redis_server import RedisServer

pytestmark = pytest.mark.system("redis-server")

KEY = bytes(range(16))


def charge(rate: Rate, key: bytes = KEY, *, local: bool = False) -> Charge:
    return Charge(key, rate, "policy", "rule", local_without_store=local)


@contextlib.asynccontextmanager
async def counting(settings: StoreSettings) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(settings)
    try:
        yield counters
    finally:
        await counters.close()


def limiter(counters: RedisCounters, *, leased: bool = False) -> SharedLimiter:
    return SharedLimiter(counters, clock=time.monotonic, timeout=5.0, leased=leased)


async def taken(limiter: SharedLimiter, what: Charge) -> Permit | Deny:
    said = limiter.take(what)
    return said if isinstance(said, Permit | Deny) else await said.settle()


async def granted(limiters: list[SharedLimiter], what: Charge, *, senders: int = 64, each: int = 5) -> int:
    async def send(number: int) -> int:
        count = 0
        for _ in range(each):
            said = await taken(limiters[number % len(limiters)], what)
            assert isinstance(said, Permit), said
            count += said.granted
        return count

    return sum(await asyncio.gather(*(send(number) for number in range(senders))))


async def test_a_permit_tells_what_is_left_and_when_more_is_back(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        said = await taken(limiter(counters), charge(Rate(3)))
    assert said == Permit(granted=True, remaining=2, reset=61)


async def test_what_is_beyond_the_rate_is_refused_until_the_oldest_is_a_minute_old(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        for _ in range(3):
            await taken(one, charge(Rate(3)))
        said = await taken(one, charge(Rate(3)))
    assert isinstance(said, Permit)
    assert not said.granted
    assert 59 <= said.retry_after <= 61


async def test_a_burst_is_back_within_two_seconds(redis_server: RedisServer) -> None:
    what = charge(Rate(100, 2))
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        first = await granted([one], what, senders=4, each=1)
        said = await taken(one, what)
        assert isinstance(said, Permit)
        await asyncio.sleep(said.retry_after)
        again = await granted([one], what, senders=4, each=1)
    assert (first, said.granted, said.retry_after <= 2, again) == (2, False, True, 2)


async def test_64_senders_through_one_limiter_get_exactly_the_rate(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        assert await granted([limiter(counters)], charge(Rate(100))) == 100


async def test_64_senders_through_two_replicas_get_exactly_the_rate(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as one, counting(redis_server.settings()) as two:
        assert await granted([limiter(one), limiter(two)], charge(Rate(100))) == 100


async def test_two_replicas_with_leases_grant_no_more_and_lose_at_most_a_lease_each(redis_server: RedisServer) -> None:
    rate = Rate(1000)
    async with counting(redis_server.settings()) as one, counting(redis_server.settings()) as two:
        limiters = [limiter(one, leased=True), limiter(two, leased=True)]
        count = await granted(limiters, charge(rate), each=25)
    assert 1000 - 2 * lease_size(rate) <= count <= 1000


async def test_a_lease_saves_questions(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters, leased=True)
        for _ in range(100):
            await taken(one, charge(Rate(1000)))
    assert one.counts().asked <= 100 // lease_size(Rate(1000)) + 2


async def test_what_is_refused_is_not_counted(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        await granted([one], charge(Rate(5)), senders=8, each=5)
        raised = await taken(one, charge(Rate(6)))
    assert isinstance(raised, Permit)
    assert (raised.granted, raised.remaining) == (True, 0)


async def test_a_lowered_rate_keeps_what_was_used(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        await granted([one], charge(Rate(10)), senders=5, each=1)
        said = await taken(one, charge(Rate(5)))
    assert isinstance(said, Permit)
    assert not said.granted


async def test_callers_do_not_share_what_they_use(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        keys = [bytes([n]) * 16 for n in range(20)]
        found = await asyncio.gather(*(granted([one], charge(Rate(3), key), senders=5, each=1) for key in keys))
    assert Counter(found) == {3: 20}


async def test_a_forgotten_script_is_sent_again(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        await taken(one, charge(Rate(10)))
        redis_server.command("SCRIPT", "FLUSH", "SYNC")
        assert await granted([one], charge(Rate(10)), senders=20, each=1) == 9


async def test_a_key_of_another_type_fails_alone(redis_server: RedisServer) -> None:
    redis_server.command("LPUSH", f"extauthz:rate:{{{KEY.hex()}}}", "x")
    async with counting(redis_server.settings()) as counters:
        with pytest.raises(CountersError) as caught:
            await counters.ask(Wanted(KEY, Rate(1)))
        other = await counters.ask(Wanted(bytes(16), Rate(1)))
    assert caught.value.only_this
    assert other.granted == 1


async def test_packed_rubbish_in_a_key_fails_alone(redis_server: RedisServer) -> None:
    redis_server.command("SET", f"extauthz:rate:{{{KEY.hex()}}}", "rubbish")
    async with counting(redis_server.settings()) as counters:
        with pytest.raises(CountersError) as caught:
            await counters.ask(Wanted(KEY, Rate(1)))
    assert caught.value.only_this


async def test_a_key_expires_when_nothing_of_it_counts(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        await counters.ask(Wanted(KEY, Rate(10)))
        await counters.ask(Wanted(bytes(16), Rate(10), lease=2))
    assert 60 <= int(redis_server.command("TTL", f"extauthz:rate:{{{KEY.hex()}}}")) <= 62
    assert 62 <= int(redis_server.command("TTL", f"extauthz:rate:{{{bytes(16).hex()}}}")) <= 64


async def test_who_stops_waiting_disturbs_nobody(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        one = limiter(counters)
        senders = [asyncio.create_task(taken(one, charge(Rate(100)))) for _ in range(32)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for sender in senders[::2]:
            sender.cancel()
        said = await asyncio.gather(*senders[1::2])
    assert all(isinstance(permit, Permit) and permit.granted for permit in said)


async def test_a_heartbeat_that_is_cancelled_ends(redis_server: RedisServer) -> None:
    """At whatever moment: a server that stops waits for it. The library goes on with one cancelled task in ten."""
    ended = 0
    for number in range(150):
        async with counting(redis_server.settings()) as counters:
            if number % 2:
                await counters.heartbeat()
            beat = asyncio.create_task(counters.heartbeat())
            await asyncio.sleep(random.uniform(0, 0.0015))
            if beat.cancel():
                ended += 1
                await asyncio.wait({beat})
                assert beat.cancelled()
    assert ended > 30


async def test_replicas_are_counted_and_leave_when_they_close(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as one:
        async with counting(redis_server.settings()) as two:
            counts = [await one.heartbeat(), await two.heartbeat(), await one.heartbeat()]
        assert [*counts, await one.heartbeat()] == [1, 2, 2, 1]


async def test_a_unix_socket_is_as_good(redis_server: RedisServer) -> None:
    async with counting(StoreSettings(f"redis+unix://{redis_server.socket}", timeout=2.0)) as counters:
        assert (await counters.ask(Wanted(KEY, Rate(1)))).granted == 1
