"""Leases: whatever replicas do with permits that they took ahead, no sixty seconds see more than the rate."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.limits import LEASE, Counted, CountersError, SharedLimiter, Wanted, lease_size
from extauthz.model import Charge, Deny, Permit, Rate

KEY = bytes(16)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Counters:
    """Counters in memory that mean what the shared ones mean, with a clock of the test."""

    clock: Clock
    slots: dict[int, int] = field(default_factory=dict)
    asked: int = 0
    down: bool = False

    def ask(self, wanted: Wanted) -> Awaitable[Counted]:
        self.asked += 1
        return self._answer(wanted)

    async def _answer(self, wanted: Wanted) -> Counted:
        if self.down:
            raise CountersError("down")
        now, rate = int(self.clock()), wanted.rate
        used = {at: count for at, count in self.slots.items() if at > now - 61}
        room = rate.per_minute - sum(used.values())
        if rate.burst is not None:
            room = min(room, rate.burst - sum(count for at, count in used.items() if at >= now - 1))
        granted = max(min(wanted.permits, room), 0)
        at = now + wanted.lease
        used[at] = used.get(at, 0) + granted
        self.slots = used
        wait = 0 if granted else min(61 - (now - at) for at in used) if rate.burst is None else 1
        return Counted(granted, max(room - granted, 0), 61, wait)

    async def heartbeat(self) -> int:
        return 1


def charge(rate: Rate) -> Charge:
    return Charge(KEY, rate, "policy", "rule")


async def taken(limiter: SharedLimiter, what: Charge) -> Permit | Deny:
    said = limiter.take(what)
    return said if isinstance(said, Permit | Deny) else await said.settle()


def replicas(counters: Counters, count: int) -> list[SharedLimiter]:
    return [SharedLimiter(counters, clock=counters.clock, timeout=5, leased=True) for _ in range(count)]


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([1, 3, 20, 200]), st.sampled_from([0.0, 0.3, 1.0, 1.9, 7.0, 31.5])),
    max_size=60,
)


@given(STEPS, st.sampled_from([Rate(100), Rate(150, 30), Rate(250), Rate(1000, 40)]))
def test_no_minute_and_no_second_see_more_than_the_rate(steps: list[tuple[int, int, float]], rate: Rate) -> None:
    async def run() -> list[float]:
        counters = Counters(Clock())
        limiters = replicas(counters, 3)
        log = []
        for who, requests, pause in steps:
            said = await asyncio.gather(*(taken(limiters[who], charge(rate)) for _ in range(requests)))
            log += [counters.clock.now for one in said if isinstance(one, Permit) and one.granted]
            counters.clock.now += pause
        return log

    log = asyncio.run(run())
    for begin in log:
        assert sum(begin <= at < begin + 60 for at in log) <= rate.per_minute
        assert rate.burst is None or sum(begin <= at < begin + 1 for at in log) <= rate.burst


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 80)), min_size=1, max_size=40))
def test_when_somebody_is_refused_at_most_a_lease_of_each_other_replica_is_unused(steps: list[tuple[int, int]]) -> None:
    rate = Rate(500)

    async def run() -> tuple[int, int]:
        limiters = replicas(Counters(Clock()), 3)
        granted = 0
        for who, requests in steps:
            said = await asyncio.gather(*(taken(limiters[who], charge(rate)) for _ in range(requests)))
            now = sum(isinstance(one, Permit) and one.granted for one in said)
            granted += now
            if now < requests:
                return granted, 1
        return granted, 0

    granted, refused = asyncio.run(run())
    assert not refused or granted >= rate.per_minute - 2 * lease_size(rate)


async def test_what_is_left_of_a_lease_is_not_used_after_its_time() -> None:
    counters = Counters(Clock())
    (one,) = replicas(counters, 1)
    await taken(one, charge(Rate(1000)))
    counters.clock.now += LEASE - 0.01
    assert isinstance(one.take(charge(Rate(1000))), Permit)
    counters.clock.now += 0.02
    assert not isinstance(one.take(charge(Rate(1000))), Permit)


async def test_a_lost_lease_is_back_a_minute_and_the_lease_later() -> None:
    counters = Counters(Clock())
    one, two = replicas(counters, 2)
    await taken(one, charge(Rate(100)))
    first = [await taken(two, charge(Rate(100))) for _ in range(110)]
    counters.clock.now += 61 + LEASE
    again = [await taken(two, charge(Rate(100))) for _ in range(110)]
    counts = [sum(isinstance(said, Permit) and said.granted for said in part) for part in (first, again)]
    assert counts == [100 - lease_size(Rate(100)), 100]


async def test_all_who_come_together_are_one_question() -> None:
    counters = Counters(Clock())
    (one,) = replicas(counters, 1)
    said = await asyncio.gather(*(taken(one, charge(Rate(1000))) for _ in range(64)))
    assert all(isinstance(permit, Permit) and permit.granted for permit in said)
    assert counters.asked == 1


async def test_a_refusal_is_remembered_while_it_is_certain() -> None:
    counters = Counters(Clock())
    (one,) = replicas(counters, 1)
    for _ in range(101):
        await taken(one, charge(Rate(100)))
    asked = counters.asked
    said = one.take(charge(Rate(100)))
    assert isinstance(said, Permit)
    assert not said.granted
    assert said.retry_after >= 59
    assert counters.asked == asked


async def test_who_got_nothing_of_the_last_permits_is_told_the_whole_wait() -> None:
    (one,) = replicas(Counters(Clock()), 1)
    said = await asyncio.gather(*(taken(one, charge(Rate(100))) for _ in range(128)))
    refused = [permit for permit in said if isinstance(permit, Permit) and not permit.granted]
    assert len(refused) == 28
    assert all(permit.retry_after >= 60 for permit in refused)


async def test_a_raised_rate_forgets_a_refusal() -> None:
    counters = Counters(Clock())
    (one,) = replicas(counters, 1)
    for _ in range(101):
        await taken(one, charge(Rate(100)))
    said = await taken(one, charge(Rate(200)))
    assert isinstance(said, Permit)
    assert said.granted


@pytest.mark.parametrize("rate", [Rate(99), Rate(1000, 10)])
async def test_small_rates_and_bursts_are_asked_for_one_by_one(rate: Rate) -> None:
    counters = Counters(Clock())
    (one,) = replicas(counters, 1)
    for _ in range(5):
        await taken(one, charge(rate))
    assert counters.asked == 5


async def test_a_fault_is_told_to_all_who_wait_and_the_next_one_asks_anew() -> None:
    counters = Counters(Clock(), down=True)
    (one,) = replicas(counters, 1)
    said = await asyncio.gather(taken(one, charge(Rate(1000))), taken(one, charge(Rate(1000))))
    assert all(isinstance(denial, Deny) for denial in said)
    counters.down = False
    assert isinstance(await taken(one, charge(Rate(1000))), Permit)
