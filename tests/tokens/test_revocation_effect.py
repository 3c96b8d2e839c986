"""From a revocation to the next Check, in this process and in the others, with the caches of both warm (I8, O31, O32)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from extauthz.errors import StoreError
from extauthz.identity import Authenticator
from extauthz.tokens.records import Revocation, RevocationKind
from extauthz.tokens.revocation_feed import RevocationFeed
from extauthz.tokens.revocation_list import RevocationList
from extauthz.tokens.revoking_store import RevokingStore
from tests.identity.issuer import EC_KEY, authenticator, bearer, word
from tests.identity.keeper import Keeper, issue, own, public
from tests.stores import token_stores
from tests.stores.redis_server import RedisServer, running
from tests.stores.token_stores import OpenStore, Stores

BOUND = 1.0
"""Seconds within which a revocation is in force everywhere."""
LIFE = 300.0


@dataclass
class Replica:
    """One process: its store, its list, its feed and its Checks."""

    store: RevokingStore
    known: RevocationList
    feed: RevocationFeed
    checks: Authenticator

    def word(self, token: str) -> str:
        return word(self.checks.authenticate(bearer(token)))

    async def refused(self, token: str) -> float:
        """Seconds until a token is refused by a Check."""
        began = time.monotonic()
        while self.word(token) != "token-revoked":
            if time.monotonic() - began > 10:
                pytest.fail("it was never refused")
            await asyncio.sleep(0.005)
        return time.monotonic() - began


Begin = Callable[[], Awaitable[Replica]]


def a_replica(store: OpenStore, *, staleness: float = 60.0) -> Replica:
    known = RevocationList(max_staleness=staleness)
    revoking = RevokingStore(store, known)
    feed = RevocationFeed(revoking, known, now=time.time, max_staleness=staleness)
    checks = authenticator(own(Keeper([public(EC_KEY, "o1")]), known), now=time.time)
    return Replica(revoking, known, feed, checks)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            opened = await stack.enter_async_context(token_stores.memory())
        elif request.param == "sqlite":
            opened = await stack.enter_async_context(token_stores.sqlite(tmp_path))
        else:
            opened = await stack.enter_async_context(token_stores.redis(request.getfixturevalue("server")))
        yield opened
        for store in opened.opened:
            await store.close()


@pytest.fixture
async def begin(stores: Stores) -> AsyncIterator[Begin]:
    """Starts another replica on the same store, whose feed runs."""
    running_feeds: list[asyncio.Task[None]] = []

    async def start() -> Replica:
        replica = a_replica(stores.open())
        await replica.feed.look()
        running_feeds.append(asyncio.create_task(replica.feed.run()))
        return replica

    yield start
    for task in running_feeds:
        task.cancel()
    await asyncio.gather(*running_feeds, return_exceptions=True)


def a_token(name: str) -> str:
    """One that has been valid for a moment and whose marks are its own."""
    now = time.time()
    return issue(
        iat=int(now) - 1, exp=int(now) + LIFE, jti=f"t-{name}", sub=f"s-{name}", client_id=f"c-{name}", sid=f"f-{name}"
    )


def revocation(kind: RevocationKind, name: str) -> Revocation:
    value = "o1" if kind == "key" else f"{ {'token': 't', 'subject': 's', 'client': 'c', 'family': 'f'}[kind] }-{name}"
    return Revocation(kind, value, time.time(), time.time() + LIFE)


@pytest.mark.parametrize("kind", ["token", "subject", "client", "family", "key"])
async def test_a_remembered_token_is_refused_everywhere_once_it_is_revoked(begin: Begin, kind: RevocationKind) -> None:
    """In this process at the very next Check, in the other one within the bound; others' tokens stay."""
    here, there = await begin(), await begin()
    meant, other = a_token("a"), a_token("b")
    for replica in (here, there):
        for _ in range(2):
            assert replica.word(meant) == replica.word(other) == "identity"
        assert replica.checks.cache_counts().hits == 2
    await here.store.revoke([revocation(kind, "a")])
    assert here.word(meant) == "token-revoked"
    assert await there.refused(meant) < BOUND
    for replica in (here, there):
        assert replica.word(meant) == "token-revoked"
        assert replica.word(other) == ("token-revoked" if kind == "key" else "identity")


@pytest.mark.parametrize("kind", ["subject", "client"])
async def test_what_is_renewed_where_a_revocation_is_not_known_is_meant_too(begin: Begin, kind: RevocationKind) -> None:
    """A thief renews a token, exchanges it, or uses its refresh token after all that its subject has was revoked, on a
    replica that can't read the store. What the client is given anew is good, and so is what somebody else brings, however
    long ago they logged in at their own issuer.
    """
    here, there = await begin(), await begin()
    now = int(time.time())
    marks: dict[str, Any] = {"sub": "s-a", "client_id": "c-a", "iat": now + 30, "exp": now + LIFE}
    await here.store.revoke([Revocation(kind, f"{kind[0]}-a", now + 5, now + LIFE)])
    renewed = issue(jti="t-1", sid="f-1", auth_time=now - 3600, **marks)
    exchanged = issue(jti="t-2", sid="f-1", auth_time=now - 3600, act={"sub": "gateway"}, **marks)
    again = issue(jti="t-3", sid="f-2", auth_time=now + 30, **marks)
    foreign = issue(jti="t-4", sid="", auth_time=now - 3600, act={"sub": "gateway"}, **marks)
    assert await there.refused(renewed) < BOUND
    for replica in (here, there):
        assert [replica.word(token) for token in (renewed, exchanged)] == ["token-revoked"] * 2
        assert [replica.word(token) for token in (again, foreign)] == ["identity"] * 2


async def test_a_revocation_survives_restarts(begin: Begin) -> None:
    """O31: a replica that starts afterwards knows it before it judges anything."""
    here = await begin()
    token = a_token("a")
    await here.store.revoke([revocation("token", "a")])
    later = await begin()
    assert later.word(token) == "token-revoked"


async def test_a_replica_judges_nothing_before_it_has_read(stores: Stores) -> None:
    """503, although the token verifies."""
    replica = a_replica(stores.open())
    token = a_token("a")
    assert replica.word(token) == "store-unavailable"
    await replica.feed.look()
    assert replica.word(token) == "identity"


async def test_races_of_use_and_revocation_let_nothing_through(begin: Begin) -> None:
    """64 revocations while 64 tokens are in use: none is let through after its acknowledgement, in the process that gave it;
    the bound of all holds together.
    """
    here, there = await begin(), await begin()
    tokens = {f"{n}": a_token(f"{n}") for n in range(64)}
    for token in tokens.values():
        assert here.word(token) == there.word(token) == "identity"

    async def revoke(name: str) -> float:
        await here.store.revoke([revocation("token", name)])
        assert here.word(tokens[name]) == "token-revoked"
        return await there.refused(tokens[name])

    taken = await asyncio.gather(*(revoke(name) for name in tokens))
    assert max(taken) < 2 * BOUND


@pytest.mark.system("redis-server")
async def test_a_store_that_is_killed_bounds_how_long_anything_is_believed(tmp_path: Path) -> None:
    """I9: until then what was known holds; afterwards 503; and it goes on once the store is back."""
    with running(tmp_path) as server:
        async with token_stores.redis(server) as stores:
            replica = a_replica(stores.open(), staleness=0.6)
            feeding = asyncio.create_task(replica.feed.run())
            token, dead = a_token("a"), a_token("b")
            await replica.store.revoke([revocation("token", "b")])
            await replica.feed.look()
            assert (replica.word(token), replica.word(dead)) == ("identity", "token-revoked")
            server.stop()
            with pytest.raises(StoreError):
                await replica.store.revoke([revocation("token", "c")])
            assert replica.word(dead) == "token-revoked"
            seen: set[str] = set()
            async with asyncio.timeout(10):
                while "store-unavailable" not in seen:
                    seen.add(replica.word(token))
                    await asyncio.sleep(0.02)
            assert seen <= {"identity", "store-unavailable"}
            assert replica.word(dead) == "token-revoked"
            server.start()
            async with asyncio.timeout(10):
                while replica.word(token) != "identity":  # noqa: ASYNC110 - it can't call back
                    await asyncio.sleep(0.02)
            feeding.cancel()
            for store in stores.opened:
                await store.close()


@pytest.mark.system("redis-server")
async def test_a_store_that_is_emptied_is_filled_again(server: RedisServer) -> None:
    """FLUSHALL: the alarm, and no revocation is forgotten by anybody who comes later."""
    async with token_stores.redis(server) as stores:
        replica = a_replica(stores.open())
        await replica.store.revoke([revocation("token", "a"), revocation("family", "b")])
        await replica.feed.look()
        server.command("FLUSHALL")
        await replica.feed.look()
        assert replica.feed.state().losses == 1
        late = a_replica(stores.open())
        await late.feed.look()
        assert (late.word(a_token("a")), late.word(a_token("b"))) == ("token-revoked", "token-revoked")
        for store in stores.opened:
            await store.close()
