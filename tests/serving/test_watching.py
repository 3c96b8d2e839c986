"""Changes of files are told, however they come about."""

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.serving import watching
from extauthz.serving.watching import fingerprint, watch

Eventually = Callable[..., Awaitable[None]]

SOON = 1.0
"""Seconds within which a change is told."""
NOTIFIED = 10.0
"""The same on a machine that does other things as well, and long before anybody looks unasked."""


@pytest.fixture(autouse=True)
def _notifications_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking regularly would hide a notification that was missed."""
    monkeypatch.setattr(watching, "_LOOK_MS", 30_000)


class Changes:
    """Counts the calls of a watch, and what was read at each."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.seen: list[list[str]] = []
        self.first = asyncio.Event()

    async def __call__(self) -> None:
        self.seen.append(self.read())
        self.first.set()

    def read(self) -> list[str]:
        texts = []
        for path in self.paths:
            entries = sorted(path.glob("[!.]*.yaml")) if path.is_dir() else [path]
            texts += [entry.read_text() for entry in entries if entry.exists()]
        return texts


@asynccontextmanager
async def watched(*paths: Path, changes: Changes | None = None) -> AsyncIterator[Changes]:
    changes = changes or Changes(paths)
    task = asyncio.create_task(watch([str(path) for path in paths], changes))
    try:
        await asyncio.wait_for(changes.first.wait(), 5)
        yield changes
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_watch_looks_at_its_beginning(tmp_path: Path) -> None:
    """The callback is called once at the beginning, for what changed before anybody watched."""
    (tmp_path / "a.yaml").write_text("1")
    async with watched(tmp_path) as changes:
        await asyncio.sleep(0.2)
        assert changes.seen == [["1"]]


async def test_edits_are_told_within_a_second(tmp_path: Path, eventually: Eventually) -> None:
    """A file that is written, added, renamed over or removed in a folder is told."""
    (tmp_path / "a.yaml").write_text("1")
    async with watched(tmp_path) as changes:
        (tmp_path / "a.yaml").write_text("2")
        await eventually(lambda: changes.seen[-1] == ["2"], SOON)
        (tmp_path / "b.yaml").write_text("3")
        await eventually(lambda: changes.seen[-1] == ["2", "3"], SOON)
        (tmp_path / ".new").write_text("4")
        (tmp_path / ".new").rename(tmp_path / "a.yaml")
        await eventually(lambda: changes.seen[-1] == ["4", "3"], SOON)
        (tmp_path / "b.yaml").unlink()
        await eventually(lambda: changes.seen[-1] == ["4"], SOON)


def config_map(folder: Path, version: str, **files: str) -> None:
    """Put files into a folder as the kubelet does: a dated folder, a symlink ``..data``, a symlink for each file."""
    dated = folder / f"..{version}"
    dated.mkdir()
    for name, text in files.items():
        (dated / f"{name}.yaml").write_text(text)
    temporary = folder / "..data_tmp"
    temporary.symlink_to(dated.name)
    temporary.rename(folder / "..data")
    for name in files:
        link = folder / f"{name}.yaml"
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}.yaml")


@pytest.mark.parametrize("by", ["folder", "file"])
async def test_a_config_map_update_is_one_change(tmp_path: Path, eventually: Eventually, by: str) -> None:
    """The swap of the kubelet's symlink is told once, and all files are of one version when it is."""
    config_map(tmp_path, "v1", a="a1", b="b1")
    paths = [tmp_path] if by == "folder" else [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    async with watched(*paths) as changes:
        config_map(tmp_path, "v2", a="a2", b="b2")
        await eventually(lambda: len(changes.seen) > 1, NOTIFIED)
        await asyncio.sleep(0.2)
    assert changes.seen == [["a1", "b1"], ["a2", "b2"]]


async def test_a_folder_may_vanish_and_come_back(tmp_path: Path, eventually: Eventually) -> None:
    """A folder that is removed and made again is followed on, at once and after each further change."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text("1")
    async with watched(folder) as changes:
        (folder / "a.yaml").unlink()
        folder.rmdir()
        await eventually(lambda: changes.seen[-1] == [], NOTIFIED)
        folder.mkdir()
        (folder / "a.yaml").write_text("2")
        await eventually(lambda: changes.seen[-1] == ["2"], NOTIFIED)
        (folder / "a.yaml").write_text("3")
        await eventually(lambda: changes.seen[-1] == ["3"], NOTIFIED)


async def test_a_folder_may_be_replaced_at_once(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new folder is another one even if the file system gives it the number of the old one."""
    folder = tmp_path / "policies"
    folder.mkdir()
    found = watching._folders
    monkeypatch.setattr(watching, "_folders", lambda paths: dict.fromkeys(found(paths), 1))

    class Replaced(Changes):
        async def __call__(self) -> None:
            await super().__call__()
            if not folder.exists():
                folder.mkdir()

    changes = Replaced([folder])
    async with watched(folder, changes=changes):
        folder.rmdir()
        await eventually(folder.exists, NOTIFIED)
        await asyncio.sleep(0.2)
        (folder / "a.yaml").write_text("1")
        await eventually(lambda: changes.seen[-1] == ["1"], NOTIFIED)


async def test_a_change_before_the_watch_is_made_is_told(tmp_path: Path, eventually: Eventually) -> None:
    """What changes while the first look is dealt with is told as soon as anything else."""
    file = tmp_path / "a.yaml"
    file.write_text("1")

    class Busy(Changes):
        async def __call__(self) -> None:
            await super().__call__()
            if len(self.seen) == 1:
                file.write_text("2")

    changes = Busy([file])
    async with watched(file, changes=changes):
        await eventually(lambda: changes.seen[-1] == ["2"], NOTIFIED)


async def test_edits_within_a_tick_of_the_clock_are_told(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where times of files are rounded to a hundredth of a second, what is read is still what is there in the end."""
    mark = watching._mark

    def coarse(path: str, stat: Callable[[], os.stat_result]) -> Any:
        *others, changed = mark(path, stat)
        return *others, changed // 10_000_000

    monkeypatch.setattr(watching, "_mark", coarse)

    class Busy(Changes):
        async def __call__(self) -> None:
            await super().__call__()
            if len(self.seen) == 1:
                self.paths[0].write_text("2")

    async with AsyncExitStack() as stack:
        several = []
        for number in range(10):
            file = tmp_path / str(number)
            file.write_text("1")
            several.append(await stack.enter_async_context(watched(file, changes=Busy([file]))))
        await eventually(lambda: all(changes.seen[-1] == ["2"] for changes in several), NOTIFIED)


class Folder:
    """A folder of policies, and what people and programs do to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = 0

    def _text(self) -> str:
        self._number += 1
        return f"{self._number:04}"

    def _another(self) -> Path:
        return self.path.with_name(f"{self.path.name}-{self._text()}")

    def write(self) -> None:
        """In place, where it is written twice or to the same size."""
        (self.path / "a.yaml").write_text(self._text())

    def rename_over(self) -> None:
        """As editors do."""
        (self.path / ".a.yaml.new").write_text(self._text())
        (self.path / ".a.yaml.new").rename(self.path / "a.yaml")

    def empty(self) -> None:
        """All files of the folder."""
        for file in self.path.glob("*.yaml"):
            file.unlink()

    def remove(self) -> None:
        """The folder, or the symlink in its place."""
        self.path.unlink() if self.path.is_symlink() else shutil.rmtree(self.path)

    def make(self) -> None:
        """With a file in it."""
        self.path.mkdir()
        self.write()

    def remake(self) -> None:
        """As ``git checkout`` does."""
        self.remove()
        self.make()

    def swap(self) -> None:
        """Another folder takes its place at once."""
        other = Folder(self._another())
        other.make()
        self.path.rename(self._another())
        other.path.rename(self.path)

    def link(self) -> None:
        """A symlink to another folder takes the place of the one before."""
        other = Folder(self._another())
        other.make()
        link = self._another()
        link.symlink_to(other.path)
        link.rename(self.path)

    def update(self) -> None:
        """As the kubelet does."""
        config_map(self.path, self._text(), b=self._text())


async def test_what_is_read_is_what_is_there_in_the_end(tmp_path: Path, eventually: Eventually) -> None:
    """Whatever was done to a folder, in whatever order and at whatever moments."""
    operations = [getattr(Folder, name) for name in vars(Folder) if not name.startswith("_")]

    async def attack(folder: Folder, chance: random.Random) -> None:
        done = []
        folder.make()
        async with watched(folder.path) as changes:
            for _ in range(5):
                for operation in chance.choices(operations, k=chance.randint(1, 5)):
                    with suppress(OSError):  # what can't be done in the state that it is in
                        operation(folder)
                    done.append(operation.__name__)
                    await asyncio.sleep(chance.choice([0, 0, 0.05, 0.15]))
                with suppress(TimeoutError):
                    await eventually(lambda: changes.seen[-1] == changes.read(), NOTIFIED)
                assert changes.seen[-1] == changes.read(), done

    folders = [Folder(tmp_path / str(number) / "policies") for number in range(15)]
    for folder in folders:
        folder.path.parent.mkdir()
    await asyncio.gather(*(attack(folder, random.Random(random.random())) for folder in folders))


async def test_a_folder_behind_a_symlink_may_be_swapped(tmp_path: Path, eventually: Eventually) -> None:
    """A release folder that a symlink is moved to is followed, and so are edits in it."""
    for name in ("one", "two"):
        (tmp_path / "releases" / name).mkdir(parents=True)
        (tmp_path / "releases" / name / "a.yaml").write_text(name)
    link = tmp_path / "current"
    link.symlink_to("releases/one")
    async with watched(link) as changes:
        (tmp_path / "next").symlink_to("releases/two")
        (tmp_path / "next").rename(link)
        await eventually(lambda: changes.seen[-1] == ["two"], NOTIFIED)
        (tmp_path / "releases" / "two" / "a.yaml").write_text("edited")
        await eventually(lambda: changes.seen[-1] == ["edited"], NOTIFIED)


async def test_a_path_that_does_not_exist_is_waited_for(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path whose folders are missing too is found when it appears."""
    monkeypatch.setattr(watching, "_LOOK_MS", 100)
    folder = tmp_path / "not" / "yet"
    async with watched(folder) as changes:
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text("1")
        await eventually(lambda: changes.seen[-1] == ["1"], NOTIFIED)


async def test_a_busy_neighbour_is_no_change(tmp_path: Path) -> None:
    """Other files that are written all the time beside a watched one cause no call."""
    file = tmp_path / "tls.crt"
    file.write_text("1")
    async with watched(file) as changes:
        for number in range(20):
            (tmp_path / "noise").write_text(str(number))
            await asyncio.sleep(0.02)
    assert len(changes.seen) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_without_notifications_it_looks_regularly(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system can't notify, changes are found by looking, and the log says so once."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watching, "_LOOK_MS", 50)
    monkeypatch.setattr(watching, "awatch", refuse)
    (tmp_path / "a.yaml").write_text("1")
    with capture_logs() as logs:
        async with watched(tmp_path) as changes:
            (tmp_path / "a.yaml").write_text("2")
            await eventually(lambda: changes.seen[-1] == ["2"], NOTIFIED)
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_a_callback_that_fails_does_not_end_the_watch(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception of the callback is logged, and the next change is told."""
    monkeypatch.setattr(watching, "_RETRY_SECONDS", 0.01)
    calls = []

    async def fail() -> None:
        calls.append(1)
        raise RuntimeError("secret")

    with capture_logs() as logs:
        task = asyncio.create_task(watch([str(tmp_path)], fail))
        await eventually(lambda: len(calls) == 1)
        await asyncio.sleep(0.2)
        (tmp_path / "a.yaml").write_text("2")
        await eventually(lambda: len(calls) == 2, NOTIFIED)
        task.cancel()
        await asyncio.wait({task})
    assert len(logs) >= 1
    assert "secret" not in str(logs)


async def test_a_cancellation_ends_it_at_any_moment(tmp_path: Path) -> None:
    """Also one that comes while it closes what it had opened: a server that stops waits for it."""
    for steps in range(12):
        changes = Changes([tmp_path])
        task = asyncio.create_task(watch([str(tmp_path)], changes))
        await changes.first.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        ended, _ = await asyncio.wait({task}, timeout=10)
        assert ended, steps


def test_a_fingerprint_never_fails(tmp_path: Path) -> None:
    """Paths that are missing, dangling, unreadable or no paths at all have a fingerprint."""
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    paths = [str(tmp_path), str(tmp_path / "x"), str(tmp_path / "loop"), "a\0b", "x" * 5000]
    assert fingerprint(paths) == fingerprint(paths)
