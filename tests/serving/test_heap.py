"""Loading beside Checks: no full garbage collection, quick turns, and the end of an old set in small steps."""

import asyncio
import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from extauthz.policy import PolicySettings, PolicyText, Snapshot, load
from extauthz.serving.heap import let_go, settle, unobtrusive
from extauthz.serving.readiness import Readiness
from extauthz.serving.reload import PolicyReloader

RULES = 4_000
LARGE = 10_000
TOLERATED = 0.1
"""Seconds; the bench has the figure, which is some milliseconds. With full collections it was a fifth of a second."""


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Nothing is put aside but by the test; afterwards all is, as ``tests/conftest.py`` has it."""
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.freeze()


def many(rules: int, mark: int = 0) -> str:
    """One policy of many rules."""
    written = [{"role": "user", "to": [{"methods": ["GET"], "paths": [f"/s{n}/{{id}}/**"]}]} for n in range(rules)]
    whole = {
        "apiVersion": "security.example.com/v1",
        "kind": "AuthPolicy",
        "metadata": {"name": "many"},
        "spec": {"rules": written},
    }
    return f"# {mark}\n{json.dumps(whole)}"


class World:
    """A reloader of real policies."""

    def __init__(self, folder: Path, rules: int) -> None:
        self.file = folder / "many.yaml"
        self.rules = rules
        self.snapshot: Snapshot | None = None
        self.change(0)
        self.reloader = PolicyReloader([str(folder)], self.load, self.publish, Readiness(), lambda *_: None)

    def change(self, mark: int) -> None:
        self.file.write_text(many(self.rules, mark))

    def load(self, texts: Sequence[PolicyText], generation: int) -> Snapshot:
        return load(texts, PolicySettings(), generation)

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot


def test_it_ends_as_it_began() -> None:
    """Also inside another one, and after an error."""
    before = sys.getswitchinterval(), gc.get_threshold()
    with unobtrusive():
        assert sys.getswitchinterval() < before[0]
        assert gc.get_threshold()[:2] == before[1][:2]
        assert gc.get_threshold()[2] > 1_000_000
        with pytest.raises(ZeroDivisionError), unobtrusive():
            raise ZeroDivisionError
        assert sys.getswitchinterval() < before[0]
    assert (sys.getswitchinterval(), gc.get_threshold()) == before


async def test_no_full_collection_begins_in_a_load(tmp_path: Path) -> None:
    """Each of them would walk all that was loaded so far, while every Check waits."""
    world = World(tmp_path, RULES)
    loading = threading.Event()
    begun: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start" and loading.is_set():
            begun.append(info["generation"])

    def marked(texts: Sequence[PolicyText], generation: int) -> Snapshot:
        loading.set()
        try:
            return load(texts, PolicySettings(), generation)
        finally:
            loading.clear()

    world.reloader._load = marked
    gc.callbacks.append(note)
    try:
        await world.reloader.start()
    finally:
        gc.callbacks.remove(note)
    assert set(begun) == {0, 1}


async def test_a_large_set_is_put_where_collections_do_not_look(tmp_path: Path) -> None:
    """It lives until the next one: walking it each time would be in vain."""
    gc.collect()
    world = World(tmp_path, RULES)
    before = gc.get_freeze_count()
    await world.reloader.start()
    assert gc.get_freeze_count() > before + 10 * RULES


async def test_a_small_set_is_loaded_as_ever(tmp_path: Path) -> None:
    """It needs none of this, and freezes no garbage of others."""
    world = World(tmp_path, 10)
    before = gc.get_freeze_count()
    await world.reloader.start()
    assert gc.get_freeze_count() == before


async def test_reloads_do_not_pile_up(tmp_path: Path) -> None:
    """The old set is freed though no collection looks at it: it has no cycles, and nothing else holds it."""
    world = World(tmp_path, RULES)
    await world.reloader.start()
    counts = []
    for mark in range(1, 5):
        world.change(mark)
        await world.reloader.reload()
        counts.append(gc.get_freeze_count())
    assert world.reloader.generation == 5
    assert max(counts) - min(counts) < RULES, counts


class Part:
    """Something that others may hold."""

    def __init__(self, *parts: "Part") -> None:
        self.parts = list(parts)


def test_letting_go_frees_what_nobody_else_holds() -> None:
    """And nothing that somebody does."""
    kept, gone = Part(), Part()
    whole = Part(kept, Part(gone))
    watched = [weakref.ref(part) for part in (whole, gone, kept)]
    held: list[object] = [whole]
    del whole, gone
    let_go(held)
    assert held == []
    assert [ref() for ref in watched] == [None, None, kept]


def test_letting_go_lets_others_run() -> None:
    """What is freed at once is small beside the whole."""
    held: list[object] = [[[Part() for _ in range(300)] for _ in range(300)]]
    with unobtrusive():
        thread = threading.Thread(target=let_go, args=(held,))
        thread.start()
        turns = 0
        while thread.is_alive():
            time.sleep(0)
            turns += 1
    assert turns > 3


def test_what_settles_is_still_freed_by_its_last_reference() -> None:
    """Only cycles would stay."""
    part = Part()
    watched = weakref.ref(part)
    settle()
    assert gc.get_freeze_count() > 0
    del part
    assert watched() is None


async def longest_wait(world: World, mark: int) -> float:
    """How long the event loop is kept from running at most while a set is replaced: seconds of this process's CPU, so that
    what other processes take of the machine is not counted.
    """
    world.change(mark)
    longest = 0.0

    async def turn() -> None:
        nonlocal longest
        while True:
            began = time.process_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.process_time() - began)

    task = asyncio.create_task(turn())
    await world.reloader.reload()
    task.cancel()
    assert world.reloader.generation == mark + 1
    return longest


async def test_a_reload_of_ten_thousand_rules_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The better of two, as the machine has other things to do as well."""
    world = World(tmp_path, LARGE)
    await world.reloader.start()
    assert min([await longest_wait(world, mark) for mark in (1, 2)]) < TOLERATED
