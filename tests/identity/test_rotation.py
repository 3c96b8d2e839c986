"""A real issuer over HTTP that rotates its keys under load, and then does everything that an issuer can do wrong.

Everything is real but the providers' clock, which the tests move on, so that minutes of refreshing and backing off fit
into seconds and a busy machine changes nothing. Each Check goes through the handler, bytes to bytes, within a real
deadline.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from typing_extensions import override

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.fetch import HttpFetcher
from extauthz.identity import Authenticator, CacheLimits, ClaimPath, Discovery, FetchSettings, JwtProvider, RoleRules
from extauthz.serving import Call
from mesh.issuer import Issuer, SigningKey
from tests.identity.issuer import Clock
from tests.journey import Journey, check_request, policies, reason_of

DEADLINE = 5.0
"""Seconds that a Check may take: many, since nothing here should ever use them up."""
FETCH_DEADLINE = 1.0

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec:
  rules: [{role: user}]
"""


class Moody(Issuer):
    """An issuer with a fault that can be switched on."""

    fault = ""

    @override
    def respond(self, target: str) -> tuple[HTTPStatus, str, str]:
        match self.fault:
            case "500":
                return HTTPStatus.INTERNAL_SERVER_ERROR, "application/json", "{}"
            case "html":
                return HTTPStatus.OK, "text/html", "<html>please sign in</html>"
            case "garbage":
                return HTTPStatus.OK, "application/json", '{"keys":[{"kty":"oct","k":"AAAA"}]}\x00\x01'
            case "5 MB":
                return HTTPStatus.OK, "application/json", " " * (5 << 20)
            case "slow":
                time.sleep(FETCH_DEADLINE + 0.3)
        return super().respond(target)


@pytest.fixture
def issuer() -> Iterator[Moody]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Moody(f"127.0.0.1:{port}") as subject:
        yield subject


@dataclass
class World:
    """The whole way of a Check, its only provider, and that provider's clock."""

    journey: Journey
    authenticator: Authenticator
    clock: Clock

    @property
    def error(self) -> str:
        return self.authenticator.states()[0].error

    async def until(self, done: Callable[[], bool]) -> None:
        """Let the clock run until something has happened."""
        for _ in range(500):
            if done():
                return
            await self.clock.advance(3)
            await asyncio.sleep(0.01)
        raise AssertionError("it has not happened")

    async def renewed(self) -> None:
        """Let the clock run until the keys were fetched anew."""
        moment = self.clock.time + 0.001

        def done() -> bool:
            age = self.authenticator.states()[0].age_seconds
            return age is not None and self.clock.time - age > moment and not self.error

        await self.until(done)


@contextlib.asynccontextmanager
async def serving(issuer: Issuer, limits: CacheLimits, deadline: float = DEADLINE) -> AsyncIterator[World]:
    """A world with this issuer, running."""
    clock = Clock()
    clock.time = time.time()
    provider = JwtProvider(
        "corporate",
        issuer.url,
        frozenset({"orders"}),
        Discovery(issuer.url),
        roles=RoleRules((ClaimPath.parse("roles"),)),
        fetch=FetchSettings(allow_private_addresses=True, allow_http=True),
    )
    fetcher = HttpFetcher(deadline=FETCH_DEADLINE)
    authenticator = Authenticator([provider], {}, fetcher=fetcher, now=clock.now, sleep=clock.sleep, token_cache=limits)
    journey = Journey(policies(POLICY), authenticator, clock=time.monotonic, deadline=deadline)
    task = asyncio.create_task(authenticator.run())
    try:
        yield World(journey, authenticator, clock)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(journey: Journey, token: str) -> CheckResponse:
    """The answer of one Check, whether it has to wait or not."""
    answer = journey.handler(check_request(headers={"authorization": f"Bearer {token}"}), Call((), None))
    return CheckResponse.FromString(answer if isinstance(answer, bytes) else await answer)


async def outcome(journey: Journey, token: str) -> str:
    """The reason of one Check, which is answered in time by an RPC that succeeds, and says allowed in one way only."""
    began = time.monotonic()
    answer = await ask(journey, token)
    assert time.monotonic() - began < DEADLINE + 1
    reason = reason_of(answer)
    assert (answer.status.code == 0) == (reason == "allowed") == (answer.WhichOneof("http_response") == "ok_response")
    return reason


@dataclass
class Load:
    """Callers that never stop; what must be allowed and what must not can change under them."""

    journey: Journey
    issuer: Issuer
    callers: int = 0
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    finished: int = 0
    """How often a caller has sent all tokens."""

    def mint(self, count: int = 5) -> list[str]:
        """Tokens by the key that signs now, with an exp far ahead of the clock."""
        return [self.issuer.mint(f"s{n}", lifetime=86_400) for n in range(count)]

    def forge(self) -> list[str]:
        """Tokens that no issuer has signed, for us, in time."""
        published = self.issuer.key.kid
        stranger = SigningKey.rsa()
        known = SigningKey(published, "RS256", stranger.private)
        return [
            self.issuer.mint(key=known),
            self.issuer.mint(key=stranger),
            self.issuer.mint(audience="billing"),
            self.issuer.mint(lifetime=-10_000),
            self.issuer.mint(roles=()),
            self.issuer.mint()[:-8] + "AAAAAAAA",
        ]

    async def rounds(self, count: int) -> None:
        """Wait until the callers have begun that many more rounds each, and so finished what they were at."""
        target = self.finished + (count + 1) * self.callers
        while self.finished < target:  # noqa: ASYNC110 - callers never wait for the test
            await asyncio.sleep(0.005)

    async def run(self) -> None:
        """One caller."""
        while True:
            self.finished += 1
            for token, expected in [(token, True) for token in self.good] + [(token, False) for token in self.bad]:
                reason = await outcome(self.journey, token)
                # What is expected of a token may have changed meanwhile; then either answer was right.
                still = token in (self.good if expected else self.bad)
                if still and (reason == "allowed") != expected:
                    self.faults.append(f"{'good' if expected else 'bad'} token: {reason}")
                await asyncio.sleep(0.001)

    @contextlib.asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator[None]:
        """Keep it up."""
        self.callers = callers
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self.run()) for _ in range(callers)]
            yield
            for task in running:
                task.cancel()


async def test_keys_rotate_under_load(issuer: Moody) -> None:
    """T53, T54, T57, T60: two rotations while callers go on: no valid token is denied, no invalid one allowed."""
    async with serving(issuer, CacheLimits(max_entries=8)) as world:
        load = Load(world.journey, issuer)
        load.good, load.bad = load.mint(), load.forge()
        async with load.running(callers=3):
            for _ in range(2):
                issuer.prepare()
                await world.renewed()
                issuer.activate()
                old, load.good = load.good, load.mint() + load.good
                await load.rounds(2)
                load.good = [token for token in load.good if token not in old]
                issuer.retire()
                await world.renewed()
                load.bad += old[:2]
                await load.rounds(2)
        assert load.faults == []
        counts = world.authenticator.cache_counts()
        assert counts.entries <= 8
        assert counts.hits > 0
        assert world.journey.watcher.open == 0


async def test_a_key_that_signs_at_once_is_found_by_its_first_token(issuer: Moody) -> None:
    """T54: an issuer in an emergency publishes, signs and withdraws in one moment; its callers wait for one fetch."""
    async with serving(issuer, CacheLimits()) as world:
        old = issuer.mint(lifetime=86_400)
        assert await outcome(world.journey, old) == "allowed"
        issuer.prepare()
        issuer.activate()
        issuer.retire()
        new = [issuer.mint(f"s{n}", lifetime=86_400) for n in range(20)]
        assert set(await asyncio.gather(*(outcome(world.journey, token) for token in new))) == {"allowed"}
        assert await outcome(world.journey, old) == "key-unknown"


@pytest.mark.parametrize("fault", ["500", "html", "garbage", "5 MB", "slow", "stopped"])
async def test_an_issuer_at_its_worst(issuer: Moody, fault: str) -> None:
    """T55, I2, I7, I9: what it does then neither denies callers who are known nor admits others; nothing hangs, and
    recovery needs no restart.
    """
    async with serving(issuer, CacheLimits(max_entries=0)) as world:
        load = Load(world.journey, issuer)
        load.good, load.bad = load.mint(2), load.forge()
        assert await outcome(world.journey, load.good[0]) == "allowed"
        async with load.running(callers=2):
            await load.rounds(1)
            if fault == "stopped":
                await asyncio.to_thread(issuer.stop)
            issuer.fault = fault
            issuer.prepare()
            issuer.activate()
            new = load.mint(2)
            load.bad += new
            await world.until(lambda: bool(world.error))
            assert world.authenticator.states()[0].usable
            await load.rounds(1)
            load.bad = [token for token in load.bad if token not in new]
            issuer.fault = ""
            if fault == "stopped":
                await asyncio.to_thread(issuer.start)
            await world.renewed()
            load.good += new
            await load.rounds(1)
        assert load.faults == []
        assert world.error == ""


@pytest.mark.parametrize("fault", ["500", "html", "garbage", "5 MB", "slow", "stopped"])
async def test_an_issuer_that_is_broken_from_the_start(issuer: Moody, fault: str) -> None:
    """T55, T58, I9: without keys every caller is denied in time, and is let in as soon as the issuer has mended."""
    if fault == "stopped":
        await asyncio.to_thread(issuer.stop)
    issuer.fault = fault
    async with serving(issuer, CacheLimits(), deadline=0.05) as world:
        token = issuer.mint(lifetime=86_400)
        reasons = {await outcome(world.journey, token) for _ in range(20)}
        assert reasons <= {"keys-unavailable", "deadline-exceeded"}
        issuer.fault = ""
        if fault == "stopped":
            await asyncio.to_thread(issuer.start)
        await world.renewed()
        assert await outcome(world.journey, token) == "allowed"
