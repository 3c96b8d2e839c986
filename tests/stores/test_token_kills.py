"""A process or a server that is killed at any moment: nothing that was acknowledged is lost, and no family has forked.

``STORE_KILLS=200`` kills that often; three times are enough for every day.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extauthz.tokens.records import Family, Outcome
from tests.stores.redis_server import RedisServer
from tests.stores.token_process import churn, sealed_as, store_at, workers
from tests.stores.token_stores import DAY, NOW, OpenStore, a_succession, digest

KILLS = int(os.environ.get("STORE_KILLS", "3"))
FAMILIES = 4
pytestmark = pytest.mark.timeout(60 + 10 * KILLS)


@dataclass
class Acknowledged:
    """All that a store has acknowledged, whoever asked for it."""

    rotations: dict[str, int] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def hear(self, lines: Iterable[list[Any]]) -> None:
        for kind, *what in lines:
            if kind == "family":
                family_id, generation, *outcome = what
                assert outcome in ([], [Outcome.ROTATED.value])
                self.rotations[family_id] = generation
            elif kind == "revoked":
                self.revoked.update(what)
            elif kind == "used":
                self.used.update(what)

    async def check(self, store: OpenStore) -> None:
        """It is all there; of what was not acknowledged each thing is there as a whole or not at all."""
        page = await store.revocations()
        kept = {one.value for one in page.revocations}
        assert self.revoked <= kept
        assert all(value.endswith("-too") or f"{value}-too" in kept for value in kept)
        for name in self.used:
            assert not await store.use_once(name, NOW + DAY, now=NOW)
        for family_id, generation in self.rotations.items():
            family = await store.family(family_id)
            assert family is not None
            await self._is_one_line(store, family, generation)

    async def _is_one_line(self, store: OpenStore, family: Family, acknowledged: int) -> None:
        """At most the rotation whose answer was lost is there beyond; who asks again gets that very answer."""
        assert family.generation - acknowledged in {0, 1}
        assert (family.current, family.revoked) == (digest(family.generation + 1), False)
        assert family.previous == (digest(family.generation) if family.generation else b"")
        number = acknowledged + 1
        again = await store.rotate(family.id, a_succession(number, number + 1, sealed_as(number + 1)))
        lost = family.generation > acknowledged
        assert again.outcome is (Outcome.REPEATED if lost else Outcome.ROTATED)
        assert again.family is not None
        assert again.family.sealed == sealed_as(number + 1)


async def test_nothing_is_lost_when_a_process_is_killed_that_writes_a_file(tmp_path: Path) -> None:
    """Each round has two writers; one of them is killed while the other goes on, then the other."""
    path = str(tmp_path / "state.db")
    acknowledged = Acknowledged()
    for number in range(KILLS):
        names = [f"{number}-{side}" for side in "ab"]
        with workers(tmp_path, path, "churn", names, FAMILIES) as started:
            for worker in started:
                await asyncio.sleep(random.uniform(0.02, 0.2))
                worker.process.kill()
                worker.process.join(10)
            for worker in started:
                acknowledged.hear(worker.said())
        store = store_at(path)
        await acknowledged.check(store)
        await store.close()
        acknowledged.rotations.clear()
    assert acknowledged.revoked
    assert acknowledged.used


@pytest.mark.system("redis-server")
async def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, ("appendonly yes", "appendfsync always"))
    acknowledged = Acknowledged()
    try:
        server.start()
        for number in range(KILLS):
            store = store_at(server.url)
            lines: list[list[Any]] = []
            epoch = (await store.revocations()).epoch
            using = asyncio.create_task(
                churn(store, lambda *what, to=lines: to.append(list(what)), str(number), FAMILIES)
            )
            await asyncio.sleep(random.uniform(0.05, 0.3))
            server.stop()
            with contextlib.suppress(Exception):
                await using
            await store.close()
            acknowledged.hear(lines)
            server.start()
            store = store_at(server.url)
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(Exception):
                        await store.look()
                        break
                    await asyncio.sleep(0.01)
            await acknowledged.check(store)
            assert (await store.revocations()).epoch == epoch
            await store.close()
            acknowledged.rotations.clear()
    finally:
        server.stop()
    assert acknowledged.revoked
    assert acknowledged.used
