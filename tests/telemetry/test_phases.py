"""Where the time of a Check goes, told by a clock that a test moves."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from extauthz.model import Charge, Identity, Permit, Rate, Request
from extauthz.telemetry import Phases
from extauthz.telemetry.taken import Taken, Waited


class Clock:
    """As it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Missing:
    """Something that is not there yet."""

    def __init__(self, arrival: Callable[[], Awaitable[None]]) -> None:
        self.what, self.provider, self.ready = "keys", "corporate", arrival


class Parts:
    """An authenticator and a limiter that take their time, and may have to wait."""

    def __init__(self, clock: Clock, identity: Identity) -> None:
        self._clock = clock
        self._identity = identity
        self.missing: Callable[[], Awaitable[None]] | None = None
        self.settles: Callable[[], Awaitable[None]] | None = None

    def authenticate(self, request: Request, *, providers: Any = None, waited: bool = False) -> Any:
        self._clock.now += 0.002
        return Missing(self.missing) if self.missing is not None and not waited else self._identity

    def peer(self, request: Request, names: frozenset[str]) -> None:
        return None

    def take(self, charge: Charge) -> Any:
        self._clock.now += 0.004
        return Permit(True, 1, 1, 0) if self.settles is None else self

    async def settle(self) -> Permit:
        assert self.settles is not None
        await self.settles()
        return Permit(True, 1, 1, 0)


CHARGE = Charge(bytes(16), Rate(10, None), "orders", "read")


class Watched:
    """One Check after the other, as the journey asks for them."""

    def __init__(self, identity: Identity) -> None:
        self.clock = Clock()
        self.parts = Parts(self.clock, identity)
        self.phases = Phases(self.clock)
        self.authenticator: Any = self.phases.authenticator(self.parts)
        self.limiter: Any = self.phases.limiter(self.parts)

    def begin(self, *, timed: bool = True) -> float:
        began = self.clock.now
        self.phases.begin(timed=timed)
        self.clock.now += 0.001
        return began

    def end(self, began: float) -> Taken:
        self.phases.ended = self.clock.now
        return self.phases.taken(self.clock.now - began)

    async def check(self, request: Request) -> Taken:
        began = self.begin()
        found = self.authenticator.authenticate(request)
        if isinstance(found, Identity) is False:
            await found.ready()
            self.authenticator.authenticate(request, waited=True)
        self.clock.now += 0.003
        pending = self.limiter.take(CHARGE)
        if isinstance(pending, Permit) is False:
            await pending.settle()
        self.clock.now += 0.005
        return self.end(began)


@pytest.fixture
def watched(identity: Identity) -> Watched:
    """Nothing to wait for."""
    return Watched(identity)


def milliseconds(taken: Taken) -> list[float]:
    """Of each phase."""
    return [round(seconds * 1000, 3) for seconds in taken.seconds]


async def test_each_phase_has_its_time(watched: Watched, request_: Request) -> None:
    """And together they are all of it."""
    taken = await watched.check(request_)
    assert milliseconds(taken) == [1, 2, 8, 4]
    assert taken.waits == ()


async def test_what_is_waited_for_is_told(watched: Watched, request_: Request) -> None:
    """With its beginning and its length, in the phase that it belongs to."""

    async def wait() -> None:
        watched.clock.now += 0.05

    watched.parts.missing = watched.parts.settles = wait
    taken = await watched.check(request_)
    assert milliseconds(taken) == [1, 54, 8, 54]
    assert [replace(one, began=round(one.began, 6), seconds=round(one.seconds, 6)) for one in taken.waits] == [
        Waited("keys", "corporate", 0.003, 0.05),
        Waited("store", "", 0.062, 0.05),
    ]


async def test_checks_that_wait_are_not_mixed_up(watched: Watched, request_: Request) -> None:
    """One waits while others are decided, and is told of what was its own."""
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    watched.parts.missing = wait
    slow = asyncio.create_task(watched.check(request_))
    await asyncio.sleep(0)
    watched.parts.missing = None
    assert milliseconds(await watched.check(request_)) == [1, 2, 8, 4]
    assert watched.clock.now == pytest.approx(100.018)
    go.set()
    assert milliseconds(await slow) == [1, 19, 8, 4]


async def test_a_wait_that_is_broken_off_keeps_its_marks(watched: Watched, request_: Request) -> None:
    """The deadline of one Check passes while others are decided: its record is about itself."""

    async def wait() -> None:
        await asyncio.Event().wait()

    watched.parts.missing = wait
    began = watched.begin()
    found = watched.authenticator.authenticate(request_)
    waiting = asyncio.ensure_future(found.ready())
    await asyncio.sleep(0)
    watched.parts.missing = None
    await watched.check(request_)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    taken = watched.end(began)
    assert milliseconds(taken) == [1, 17, 0, 0]
    assert [one.what for one in taken.waits] == ["keys"]


def test_a_request_that_nobody_asks_about(watched: Watched) -> None:
    """Refused for its form, or by no policy: all of it went into reading."""
    assert milliseconds(watched.end(watched.begin())) == [1, 0, 0, 0]


def test_a_policy_in_shadow_mode_asks_for_itself(watched: Watched, request_: Request) -> None:
    """What it costs is none of who is asking."""
    began = watched.begin()
    watched.authenticator.authenticate(request_)
    watched.authenticator.authenticate(request_, waited=True)
    assert milliseconds(watched.end(began)) == [1, 2, 2, 0]


async def test_who_is_not_read_is_not_timed(watched: Watched, request_: Request) -> None:
    """The clock is not even looked at, nor is what is waited for wrapped."""

    async def wait() -> None:
        pass

    watched.begin(timed=False)
    watched.phases.clock = lambda: pytest.fail("read")
    watched.parts.missing = watched.parts.settles = wait
    assert isinstance(watched.authenticator.authenticate(request_), Missing)
    assert watched.limiter.take(CHARGE) is watched.parts
