"""Two replicas of a token service, each behind an Envoy of its own: what one revokes the other refuses, whatever happens since.

How long it takes is measured by ``python -m bench.revocations``.
"""

import asyncio
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.proxy import EnvoyProcess
from mesh.replicas import CLIENT, Replicas, used
from tests.stores.redis_server import RedisServer
from tests.stores.redis_server import running as redis

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

BOUND = 1.0
"""Seconds within which a revocation is in force everywhere; a busy machine gets as many more."""

StartEnvoy = Callable[..., AbstractAsyncContextManager[EnvoyProcess]]


@dataclass
class Pair:
    """The replicas, what stands before them, and their store if it is a server."""

    replicas: Replicas
    urls: tuple[str, str]
    store: RedisServer | None

    def statuses(self, token: str) -> tuple[int, int]:
        """What both answer to a token."""
        first, second = (used(url, token) for url in self.urls)
        return first, second

    def token(self) -> str:
        return self.replicas.all[0].desk.own(CLIENT).access_token

    def revoke(self, token: str, by: int) -> None:
        self.replicas.all[by].desk.revoke(CLIENT, token)

    def until(self, statuses: tuple[int, int], token: str, within: float) -> None:
        end = time.monotonic() + within
        while (seen := self.statuses(token)) != statuses:
            assert time.monotonic() < end, seen

    def restart(self) -> None:
        """Kill both, so that nobody remembers anything, and start them again."""
        for replica in self.replicas.all:
            replica.process.signal(signal.SIGKILL)
            replica.process.stop()
        self.replicas.start()

    def losses(self) -> float:
        """How often the second replica has seen that the store had lost its records."""
        with urllib.request.urlopen(f"http://{self.replicas.all[1].admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("extauthz_revocations_lost_total ")))


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | None]:
    if request.param == "sqlite":
        yield None
    else:
        with redis(tmp_path) as server:
            yield server


@pytest.fixture
async def pair(store: RedisServer | None, tmp_path: Path, start_envoy: StartEnvoy) -> AsyncIterator[Pair]:
    replicas = Replicas(tmp_path, store=store.url if store else "sqlite:state.db")
    one, other = (tmp_path / name for name in ("one", "other"))
    await asyncio.to_thread(replicas.start)
    try:
        first, second = replicas.checks
        quick = {"authz_health": timedelta(milliseconds=200)}
        async with start_envoy(first, folder=one, **quick) as near, start_envoy(second, folder=other, **quick) as far:
            yield Pair(replicas, (near.url, far.url), store)
    finally:
        await asyncio.to_thread(replicas.stop)


def revocations(pair: Pair) -> None:
    """What one has revoked it refuses at once, and the other within the bound; a restart and an emptied store change nothing."""
    kept, dead = pair.token(), []
    for number in range(6):
        token = pair.token()
        assert pair.statuses(token) == pair.statuses(token) == (200, 200)
        pair.revoke(token, by=number % 2)
        assert used(pair.urls[number % 2], token) == 401
        pair.until((401, 401), token, 2 * BOUND)
        dead.append(token)
    refresh = pair.replicas.all[0].desk.own(CLIENT)
    pair.revoke(refresh.refresh_token, by=1)
    pair.until((401, 401), refresh.access_token, 2 * BOUND)
    dead.append(refresh.access_token)

    pair.restart()
    pair.until((200, 200), kept, 10)  # the Envoys have seen it too
    assert [pair.statuses(token) for token in dead] == [(401, 401)] * len(dead)

    if pair.store is not None:
        pair.store.command("FLUSHALL")
        assert [pair.statuses(token) for token in dead] == [(401, 401)] * len(dead)
        end = time.monotonic() + 10
        while not pair.losses():
            assert time.monotonic() < end
            time.sleep(0.05)
        pair.restart()
        pair.until((200, 200), kept, 10)
        assert [pair.statuses(token) for token in dead] == [(401, 401)] * len(dead)


async def test_what_one_replica_revokes_the_other_refuses(pair: Pair) -> None:
    """I8, O31, O32: within the bound, after a restart of both, and after the store has lost everything."""
    await asyncio.to_thread(revocations, pair)
