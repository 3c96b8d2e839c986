"""Several processes at once at one store of tokens: one of them wins, and nothing is skipped."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extauthz.tokens.records import Outcome
from tests.stores.redis_server import running
from tests.stores.token_process import store_at, workers
from tests.stores.token_stores import a_family

PROCESSES = 4
EACH = 16


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "state.db")
    else:
        with running(tmp_path) as server:
            yield server.url


async def together(folder: Path, where: str, job: str, name: str) -> list[list[Any]]:
    """What several processes were told that do the same at the same time."""
    with workers(folder, where, job, [name] * PROCESSES, EACH) as started:
        for worker in started:
            await asyncio.to_thread(worker.process.join, 30)
        return [line for worker in started for line in worker.said()]


@pytest.mark.parametrize(
    ("grace", "outcomes"),
    [
        (10, {Outcome.ROTATED: 1, Outcome.REPEATED: 63}),
        (0, {Outcome.ROTATED: 1, Outcome.REUSED: 1, Outcome.ENDED: 62}),
    ],
)
async def test_of_64_in_four_processes_who_present_one_token_one_gets_the_next(
    tmp_path: Path, where: str, grace: int, outcomes: dict[Outcome, int]
) -> None:
    """All of the others are told of the same successor, or that it is over."""
    store = store_at(where)
    family = a_family()
    await store.begin(family)
    lines = await together(tmp_path, where, "rotate", f"{family.id}/{grace}")
    kept = await store.family(family.id)
    await store.close()
    assert Counter(line[0] for line in lines) == {outcome.value: count for outcome, count in outcomes.items()}
    assert kept is not None
    assert (kept.generation, kept.revoked) == (1, grace == 0)
    assert {line[1] for line in lines} == {kept.sealed.hex()}


async def test_of_64_in_four_processes_who_use_one_name_one_does(tmp_path: Path, where: str) -> None:
    lines = await together(tmp_path, where, "claim", "jti")
    assert Counter(line[0] for line in lines) == {True: 1, False: 63}


async def test_a_reader_skips_nothing_of_what_three_processes_write(tmp_path: Path, where: str) -> None:
    """What was acknowledged before the reader asks is in what it has afterwards, at once, each once."""
    reader = store_at(where)
    seen: list[str] = []
    pages = 0
    with workers(tmp_path, where, "revoke", ["a", "b", "c"], 100) as started:
        page = await reader.revocations()
        seen += (one.value for one in page.revocations)
        while True:
            ended = not any(worker.process.is_alive() for worker in started)
            acknowledged = {value for worker in started for (value,) in worker.said()}
            page = await reader.revocations(page.cursor, page.epoch)
            seen += (one.value for one in page.revocations)
            pages += bool(page.revocations)
            assert acknowledged <= set(seen)
            if ended:
                break
    await reader.close()
    assert Counter(seen) == Counter(f"{name}-{n}" for name in "abc" for n in range(100))
    assert pages > 1
