"""Telling that files changed, however they are changed: edited, replaced, swapped behind symlinks, removed, remade.

The system's notifications (through watchfiles) only say "look now"; whether something changed is told by comparing
what ``stat`` says about the files. So a busy neighbour in the same folder costs a few stats and no reload, and what
notifications miss is found by looking every two seconds anyway: a network file system, a folder that was removed and
made again, a symlink whose target lies elsewhere. Kubernetes updates a ConfigMap by swapping a symlink in the folder;
that is one change.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from extauthz.serving.faults import describe

__all__ = ["Fingerprint", "fingerprint", "watch"]

_log = structlog.get_logger()

_LOOK_MS = 2000
"""How long to wait for a notification before looking unasked."""
_STEP_MS = 100
"""Notifications that follow each other within this time are one."""
_DEBOUNCE_MS = 400
"""How long a stream of notifications is waited out at most."""
_RETRY_SECONDS = 1.0
_TICK_SECONDS = 0.02
"""More than the times of files are rounded to by a kernel before 6.13: edits within it can look like one."""
_TICKS = 10
"""How often to wait for that at most, where something is written all the time."""
_AGAIN_SECONDS = 0.05
"""After a watch was made: to look once more."""

_Mark = tuple[str, int, int, int, int]

Fingerprint = tuple[_Mark, ...]
"""Path, device, inode, size and change time of each file; zeros for what can't be read."""


def fingerprint(paths: Iterable[str]) -> Fingerprint:
    """What ``stat`` says about files and about the entries of folders, symlinks followed. Blocks; never raises."""
    marks: list[_Mark] = []
    for path in paths:
        marks.append(_mark(path, Path(path).stat))
        with suppress(OSError, ValueError), os.scandir(path) as entries:
            marks += sorted(_mark(entry.path, entry.stat) for entry in entries if not entry.name.startswith("."))
    return tuple(marks)


def _mark(path: str, stat: Callable[[], os.stat_result]) -> _Mark:
    try:
        found = stat()
    except (OSError, ValueError):
        return path, 0, 0, 0, 0
    return path, found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


async def watch(paths: Iterable[str], changed: Callable[[], Awaitable[object]]) -> None:
    """Call ``changed`` after each change of the files, or of the entries of the folders, at some paths.

    It is called once at the beginning, too, for what changed before anybody watched. Calls follow each other, never
    overlap, and come within a second of a change that the system notifies. An error of ``changed`` is logged, and so is
    one of the watching itself; both go on. Ends only by being cancelled.
    """
    paths = tuple(paths)
    seen: Fingerprint | None = None
    while True:
        try:
            async with aclosing(_moments(paths)) as moments:
                async for _ in moments:
                    found = await asyncio.to_thread(fingerprint, paths)
                    if found != seen:
                        seen = await _settled(paths, found)
                        await changed()
        except Exception as error:  # noqa: BLE001 - a watch that ends is a reload that silently never comes
            _log.error("following a change of files failed", paths=paths, fault=describe(error))
            await asyncio.sleep(_RETRY_SECONDS)


async def _settled(paths: tuple[str, ...], found: Fingerprint) -> Fingerprint:
    """What ``stat`` says when it says the same twice: an edit that comes later than that has another time."""
    for _ in range(_TICKS):
        await asyncio.sleep(_TICK_SECONDS)
        before, found = found, await asyncio.to_thread(fingerprint, paths)
        if found == before:
            break
    return found


async def _moments(paths: tuple[str, ...]) -> AsyncGenerator[None]:
    """The moments to look at, without end: now, at each notification, and when there was none for a while."""
    told = False
    while True:
        folders = await asyncio.to_thread(_folders, paths)
        yield
        try:
            async with aclosing(_notifications(list(folders))) as notifications:
                async for gone in notifications:
                    yield
                    # The number of a folder that is gone may be given to the next one.
                    if not gone.isdisjoint(folders) or folders != await asyncio.to_thread(_folders, paths):
                        break
        except FileNotFoundError:
            # A folder went away between the look at it and the watch; look again.
            await asyncio.sleep(_STEP_MS / 1000)
        except (OSError, RuntimeError) as error:
            # Out of inotify watches, or a file system without notifications.
            if not told:
                told = True
                _log.warning("no notifications of changed files, looking regularly", paths=paths, fault=describe(error))
            await asyncio.sleep(_LOOK_MS / 1000)


async def _notifications(folders: list[str]) -> AsyncGenerator[set[str]]:
    """Something happened in one of the folders, or nothing did for a while; gives the paths that went away.

    The first comes just after the watch was made: what happened between the look before and the watch is in neither.
    """
    if not folders:
        while True:
            await asyncio.sleep(_LOOK_MS / 1000)
            yield set()
    gone: set[str] = set()
    happened, stop = asyncio.Event(), asyncio.Event()
    # A task of its own, and nobody else closes what it iterates over: an error of a second closing would take the place
    # of the cancellation that caused it, and the watch would go on for ever.
    following = asyncio.create_task(_follow(folders, gone, happened, stop))
    try:
        await asyncio.wait({following}, timeout=_AGAIN_SECONDS)
        while not following.done():
            happened.clear()
            found = gone.copy()
            gone.clear()
            yield found
            await happened.wait()
        await following
    finally:
        # A cancellation that meets the one by which watchfiles ends its own waiting is taken for that one, and goes on.
        stop.set()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(folders: list[str], gone: set[str], happened: asyncio.Event, stop: asyncio.Event) -> None:
    """Keep what went away in the folders, and say what ``happened`` at each notification, and at the end, until ``stop``."""
    events = awatch(
        *folders,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        stop_event=stop,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
        ignore_permission_denied=True,
    )
    try:
        async with aclosing(events):
            async for changes in events:
                gone.update(path for change, path in changes if change is Change.deleted)
                happened.set()
    finally:
        stop.set()
        happened.set()


def _folders(paths: Iterable[str]) -> dict[str, int]:
    """The folders whose entries decide what stands at the paths, with their inodes: a remade folder is another one.

    Of each path and of what it leads to: the folder that it is in, and itself if it is one.
    """
    folders: dict[str, int] = {}
    for path in paths:
        # A path that can't be followed (a symlink that leads to itself) is looked at like one that is not there.
        with suppress(OSError, ValueError, RuntimeError):
            for one in (Path.cwd() / path, Path(path).resolve()):
                for candidate in (one.parent, one):
                    if candidate.is_dir() and os.access(candidate, os.R_OK):
                        folders[str(candidate)] = candidate.stat().st_ino
    return folders
