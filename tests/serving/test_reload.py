"""The set of policies in force: replaced whole, kept when the files are broken."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.errors import PolicyError, Position, Problem
from extauthz.policy import PolicyText
from extauthz.serving.policy_files import read_policy_texts
from extauthz.serving.readiness import Readiness
from extauthz.serving.reload import PolicyReloader

Eventually = Callable[..., Awaitable[None]]


class World:
    """A reloader whose snapshots are the texts themselves, and everything it says."""

    def __init__(self, *paths: Path, may_be_absent: bool = False) -> None:
        self.force: list[tuple[int, list[str]]] = []
        self.counted: list[tuple[str, int]] = []
        self.threads: set[threading.Thread] = set()
        self.before_load: Callable[[], None] = lambda: None
        self.readiness = Readiness()
        self.reloader = PolicyReloader(
            [str(path) for path in paths],
            self.load,
            self.force.append,
            self.readiness,
            lambda outcome, generation: self.counted.append((outcome, generation)),
            may_be_absent=may_be_absent,
        )

    def load(self, texts: Sequence[PolicyText], generation: int) -> tuple[int, list[str]]:
        self.threads.add(threading.current_thread())
        self.before_load()
        problems = [Problem(Position(text.file, 1, 1), "is broken") for text in texts if "broken" in text.text]
        if problems:
            raise PolicyError(problems)
        return generation, [text.text for text in texts]


async def test_the_first_set_is_loaded_in_a_thread(tmp_path: Path) -> None:
    """Start loads and publishes generation 1, off the event loop's thread."""
    (tmp_path / "a.yaml").write_text("a")
    world = World(tmp_path)
    await world.reloader.start()
    assert world.force == [(1, ["a"])]
    assert world.counted == [("loaded", 1)]
    assert threading.current_thread() not in world.threads


async def test_a_broken_first_set_ends_the_start(tmp_path: Path) -> None:
    """At the start there is no set to fall back to: all problems are raised, those of reading and those of loading."""
    (tmp_path / "a.yaml").write_text("broken")
    with pytest.raises(PolicyError, match=r"a\.yaml:1:1: is broken"):
        await World(tmp_path).reloader.start()
    with pytest.raises(PolicyError, match=r"missing: there is no such file"):
        await World(tmp_path / "missing").reloader.start()


async def test_a_broken_set_keeps_the_last_good_one(tmp_path: Path) -> None:
    """A broken file changes nothing but the count, the log and the report; mended, the new set is in force."""
    (tmp_path / "a.yaml").write_text("a")
    world = World(tmp_path)
    world.readiness.listening("x")
    await world.reloader.start()
    with capture_logs() as logs:
        (tmp_path / "b.yaml").write_text("broken")
        await world.reloader.reload()
        await world.reloader.reload()
        assert world.readiness.ready
        assert f"[-] policies: generation 1 stays in force; the last load failed: {tmp_path}/b.yaml:1:1: is broken" in (
            world.readiness.report()
        )
        (tmp_path / "b.yaml").write_text("b")
        await world.reloader.reload()
    assert world.force == [(1, ["a"]), (2, ["a", "b"])]
    assert world.counted == [("loaded", 1), ("failed", 1), ("loaded", 2)]
    assert [entry["log_level"] for entry in logs] == ["error", "info"]


async def test_going_back_to_the_set_in_force_clears_the_error(tmp_path: Path) -> None:
    """A file that is put back as it was makes no new generation, and the error is gone."""
    file = tmp_path / "a.yaml"
    file.write_text("a")
    world = World(tmp_path)
    await world.reloader.start()
    for text in ("broken", "a"):
        file.write_text(text)
        await world.reloader.reload()
    assert "[+] policies: generation 1" in world.readiness.report()
    assert world.force == [(1, ["a"])]


async def test_a_set_without_policies_is_told(tmp_path: Path) -> None:
    """An emptied folder is a valid set that denies everything: the log warns, and the report says so until it is filled."""
    file = tmp_path / "a.yaml"
    file.write_text("a")
    world = World(tmp_path)
    await world.reloader.start()
    with capture_logs() as logs:
        file.unlink()
        await world.reloader.reload()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", "there is no policy, every request is denied")
    ]
    assert "[+] policies: generation 2: there is no policy, every request is denied" in world.readiness.report()
    file.write_text("broken")
    await world.reloader.reload()
    file.unlink()
    await world.reloader.reload()
    assert "[+] policies: generation 2: there is no policy, every request is denied" in world.readiness.report()


async def test_the_same_texts_make_no_new_generation(tmp_path: Path) -> None:
    """A file that is touched, or written with what it holds, causes no reload."""
    (tmp_path / "a.yaml").write_text("a")
    world = World(tmp_path)
    await world.reloader.start()
    (tmp_path / "a.yaml").write_text("a")
    await world.reloader.reload()
    assert world.counted == [("loaded", 1)]
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    await world.reloader.reload()
    assert world.counted == [("loaded", 1), ("loaded", 2)], "the names of files are part of the set"


async def test_a_folder_that_vanished_keeps_the_last_good_set(tmp_path: Path) -> None:
    """A folder that is gone is not an empty set: what was in force stays."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text("a")
    world = World(folder, may_be_absent=True)
    await world.reloader.start()
    (folder / "a.yaml").unlink()
    folder.rmdir()
    await world.reloader.reload()
    assert world.force == [(1, ["a"])]
    assert "no such file" in str(world.readiness.report())


async def test_a_folder_that_nobody_named_may_be_missing_at_first(tmp_path: Path) -> None:
    """The default folder need not exist: the empty set is in force until it appears."""
    folder = tmp_path / "policies"
    world = World(folder, may_be_absent=True)
    await world.reloader.start()
    await world.reloader.reload()
    folder.mkdir()
    (folder / "a.yaml").write_text("a")
    await world.reloader.reload()
    assert world.force == [(1, []), (2, ["a"])]


async def test_an_emptied_folder_is_the_empty_set(tmp_path: Path) -> None:
    """Removing the last policy from a folder takes effect: nothing is allowed any more."""
    (tmp_path / "a.yaml").write_text("a")
    world = World(tmp_path)
    await world.reloader.start()
    (tmp_path / "a.yaml").unlink()
    await world.reloader.reload()
    assert world.force == [(1, ["a"]), (2, [])]


async def test_loads_never_overlap_and_the_newest_wins(tmp_path: Path) -> None:
    """Many reloads that are asked for at once load one after the other, once for all that waited."""
    file = tmp_path / "a.yaml"
    file.write_text("0")
    world = World(tmp_path)
    await world.reloader.start()
    running = threading.Lock()
    loading = threading.Event()
    go_on = threading.Event()

    def slow() -> None:
        assert running.acquire(blocking=False), "two loads at a time"
        loading.set()
        go_on.wait(5)
        running.release()

    world.before_load = slow
    file.write_text("1")
    first = asyncio.create_task(world.reloader.reload())
    await asyncio.to_thread(loading.wait, 5)
    others = []
    for number in range(2, 12):
        file.write_text(str(number))
        others.append(asyncio.create_task(world.reloader.reload()))
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *others)
    assert world.force == [(1, ["0"]), (2, ["1"]), (3, ["11"])]


async def test_a_fault_of_ours_keeps_the_last_good_set(tmp_path: Path) -> None:
    """An exception that nobody expected is told by its type and place, without its text."""
    (tmp_path / "a.yaml").write_text("a")
    world = World(tmp_path)
    await world.reloader.start()

    def fail() -> None:
        raise ZeroDivisionError("secret")

    world.before_load = fail
    (tmp_path / "a.yaml").write_text("b")
    with capture_logs() as logs:
        await world.reloader.reload()
    assert world.force == [(1, ["a"])]
    assert "ZeroDivisionError" in str(world.readiness.report())
    assert "secret" not in str(logs)


async def test_files_of_two_moments_are_never_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When files change while they are read, they are read again."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"{name}1")
    world = World(tmp_path)
    await world.reloader.start()

    def read_while_it_changes(paths: Any) -> Any:
        found = read_policy_texts(paths)
        if (tmp_path / "b.yaml").read_text() == "b1":
            (tmp_path / "b.yaml").write_text("b2")
        return found

    monkeypatch.setattr("extauthz.serving.reload.read_policy_texts", read_while_it_changes)
    (tmp_path / "a.yaml").write_text("a2")
    await world.reloader.reload()
    assert world.force == [(1, ["a1", "b1"]), (2, ["a2", "b2"])]


async def test_the_reloader_follows_its_files(tmp_path: Path, eventually: Eventually) -> None:
    """A change on disk is in force within a second, and nothing blocks the event loop meanwhile."""
    (tmp_path / "a.yaml").write_text("a")
    world = World(tmp_path)
    await world.reloader.start()
    task = asyncio.create_task(world.reloader.run())
    await asyncio.sleep(0.2)
    (tmp_path / "a.yaml").write_text("b")
    await eventually(lambda: world.force[-1] == (2, ["b"]), 1)
    task.cancel()
    await asyncio.wait({task})
