"""Processes that use a store of tokens, write down what was acknowledged, and may be killed at any moment.

They are forked from one that has loaded everything, so that a test can have many of them.
"""

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import multiprocessing.synchronize
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from extauthz.errors import StoreError
from extauthz.stores import RedisTokenStore, SqliteTokenStore, StoreSettings
from extauthz.tokens.records import Succession
from tests.stores.token_stores import DAY, NOW, PATIENCE, OpenStore, a_family, a_revocation, a_succession, digest

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["pytest", "redis.asyncio.cluster", __name__])

Acknowledge = Callable[..., None]


def store_at(where: str) -> OpenStore:
    """The store at a URL of redis or the path of a file."""
    if where.startswith("redis://"):
        return RedisTokenStore(StoreSettings(where, timeout=PATIENCE))
    return SqliteTokenStore(where, timeout=PATIENCE)


def sealed_as(number: int) -> bytes:
    return b"sealed %d" % number


async def rotate(store: OpenStore, acknowledge: Acknowledge, name: str, number: int) -> None:
    """Present the first token of a family, as often as said and all at once; the grace is part of the name."""
    family_id, grace = name.split("/")

    async def once() -> None:
        successor = random.randbytes(32)
        succession = Succession(digest(1), successor, successor, NOW, float(grace), NOW + DAY)
        done = await store.rotate(family_id, succession)
        acknowledge(done.outcome.value, done.family.sealed.hex() if done.family else "")

    await asyncio.gather(*(once() for _ in range(number)))


async def claim(store: OpenStore, acknowledge: Acknowledge, name: str, number: int) -> None:
    """Use a name, as often as said and all at once."""

    async def once() -> None:
        acknowledge(await store.use_once(name, NOW + DAY, now=NOW))

    await asyncio.gather(*(once() for _ in range(number)))


async def revoke(store: OpenStore, acknowledge: Acknowledge, name: str, number: int) -> None:
    """Revoke so many tokens, four at a time."""

    async def some(part: int) -> None:
        for n in range(part, number, 4):
            await store.revoke([a_revocation(f"{name}-{n}")])
            acknowledge(f"{name}-{n}")

    await asyncio.gather(*(some(part) for part in range(4)))


async def churn(store: OpenStore, acknowledge: Acknowledge, name: str, number: int) -> None:
    """Do everything at once until it is killed: so many families that are rotated, tokens revoked, names used."""

    async def rotating(family_id: str) -> None:
        await store.begin(a_family(id=family_id))
        acknowledge("family", family_id, 0)
        for n in itertools.count(1):
            done = await store.rotate(family_id, a_succession(n, n + 1, sealed_as(n + 1)))
            acknowledge("family", family_id, n, done.outcome.value)

    async def revoking(jti: str) -> None:
        for n in itertools.count():
            await store.revoke([a_revocation(f"{jti}-{n}"), a_revocation(f"{jti}-{n}-too")])
            acknowledge("revoked", f"{jti}-{n}", f"{jti}-{n}-too")

    async def using(jti: str) -> None:
        for n in itertools.count():
            assert await store.use_once(f"{jti}-{n}", NOW + DAY, now=NOW)
            acknowledge("used", f"{jti}-{n}")

    jobs: list[Awaitable[None]] = [rotating(f"{name}-{n}") for n in range(number)]
    jobs += [revoking(f"{name}-r"), using(f"{name}-u")]
    await asyncio.gather(*jobs)


JOBS = {job.__name__: job for job in (rotate, claim, revoke, churn)}


@dataclass
class Worker:
    """One process, and the file of what it was acknowledged."""

    process: ForkServerProcess
    log: Path

    def said(self) -> list[list[Any]]:
        """A line that it could not finish was not acknowledged to anybody."""
        lines = self.log.read_bytes().split(b"\n") if self.log.exists() else [b""]
        return [json.loads(line) for line in lines[:-1]]


def work(
    where: str, job: str, name: str, number: int, log: str, barrier: "multiprocessing.synchronize.Barrier"
) -> None:
    """What a process does."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def acknowledge(*what: Any) -> None:
        os.write(file, json.dumps(what).encode() + b"\n")

    async def use() -> None:
        store = store_at(where)
        await store.look()
        await asyncio.to_thread(barrier.wait, PATIENCE * 3)
        with contextlib.suppress(StoreError):
            await JOBS[job](store, acknowledge, name, number)
        await store.close()

    asyncio.run(use())


@contextmanager
def workers(folder: Path, where: str, job: str, names: list[str], number: int) -> Iterator[list[Worker]]:
    """A process for each name, all of which have just begun; killed at the end."""
    barrier = FORK.Barrier(len(names) + 1)
    started: list[Worker] = []
    try:
        for place, name in enumerate(names):
            log = folder / f"{job}-{place}-{random.getrandbits(64):x}.log"
            process = FORK.Process(target=work, args=(where, job, name, number, str(log), barrier))
            process.start()
            started.append(Worker(process, log))
        barrier.wait(PATIENCE * 3)
        yield started
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.join(10)
            worker.process.close()
