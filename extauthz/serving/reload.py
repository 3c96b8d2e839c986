"""The set of policies in force, and how it is replaced: whole, or not at all.

A load reads all files, hands them to the policy room in a thread, and publishes what comes back with one assignment,
so a request sees one set or the other. If anything is wrong, the set in force stays: the log, the metric and
``/readyz?verbose`` say so, health does not change. Texts that are the same as before make no new generation. Loads
never overlap, and one that waits while others ask reads once for all of them, so the newest texts win.

Checks go on meanwhile, and share an interpreter with the thread: ``extauthz.serving.heap`` has what keeps their waits short.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Generic, TypeVar

import structlog

from extauthz.errors import PolicyError
from extauthz.policy import PolicyText
from extauthz.serving.faults import describe
from extauthz.serving.heap import let_go, settle, unobtrusive
from extauthz.serving.policy_files import read_policy_texts
from extauthz.serving.readiness import Readiness
from extauthz.serving.watching import fingerprint, watch

__all__ = ["PolicyReloader"]

_log = structlog.get_logger()

_READS = 5
"""How often files are read that change while they are read; after that the watch will call again."""

_LARGE = 1 << 18
"""Characters of texts from which on their snapshot is put aside from garbage collections, and taken apart at its end."""

_NONE = "there is no policy, every request is denied"

Snapshot = TypeVar("Snapshot")


class PolicyReloader(Generic[Snapshot]):
    """Keeps the policies as the files have them."""

    def __init__(
        self,
        paths: Iterable[str],
        load: Callable[[Sequence[PolicyText], int], Snapshot],
        publish: Callable[[Snapshot], None],
        readiness: Readiness,
        count: Callable[[str, int], None],
        *,
        may_be_absent: bool = False,
    ) -> None:
        """Nothing is read yet.

        ``load`` compiles texts into a snapshot of a generation, or raises PolicyError; it runs in a thread.
        ``publish`` puts a snapshot in force; ``count`` is told each outcome, ``loaded`` or ``failed``, and the
        generation that is in force after it. With ``may_be_absent`` paths that nobody wrote into the configuration
        need not exist; once one was there it must not go away.
        """
        self._paths = tuple(paths)
        self._load = load
        self._publish = publish
        self._readiness = readiness
        self._count = count
        self._may_be_absent = may_be_absent
        self._generation = 0
        self._digest = b""
        self._in_force: Snapshot | None = None
        self._large = False
        self._error: str | None = None
        self._note = ""
        self._lock = asyncio.Lock()
        self._asked = 0
        self._covered = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """Where policies are looked for."""
        return self._paths

    @property
    def generation(self) -> int:
        """The number of the set in force: 0 before the first, then one more for each."""
        return self._generation

    async def start(self) -> None:
        """Load the first set. Raises PolicyError if it can't be used: there is none to fall back to."""
        async with self._lock:
            await self._replace()

    async def run(self) -> None:
        """Follow the files until cancelled."""
        await watch(self._paths, self.reload)

    async def reload(self) -> None:
        """Load the set anew if the files changed; never raises for what is wrong with them."""
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._covered >= mine:
                return
            self._covered = self._asked
            try:
                await self._replace()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not take the set in force with it
                self._fail(str(error) if isinstance(error, PolicyError) else describe(error))

    async def _replace(self) -> None:
        found = await asyncio.to_thread(self._read_and_load)
        if found is None:
            if self._error is not None:
                self._error = None
                self._readiness.policies_loaded(self._generation, self._note)
                _log.info("policies are as before", generation=self._generation)
            return
        snapshot, digest, files, large = found
        del found
        retired, apart = self._in_force, self._large
        self._in_force, self._large = snapshot, large
        self._publish(snapshot)
        self._generation += 1
        self._digest = digest
        self._error = None
        self._note = "" if files else _NONE
        self._readiness.policies_loaded(self._generation, self._note)
        self._count("loaded", self._generation)
        if files:
            _log.info("policies loaded", generation=self._generation, files=files)
        else:
            _log.warning(_NONE, generation=self._generation, places=self._paths)
        if apart:
            held: list[object] = [retired]
            del retired
            await asyncio.to_thread(_take_apart, held)

    def _fail(self, error: str) -> None:
        if error == self._error:
            return
        self._error = error
        self._readiness.policies_failed(self._generation, error)
        self._count("failed", self._generation)
        _log.error("policies not loaded, the set in force stays", generation=self._generation, problems=error)

    def _read_and_load(self) -> tuple[Snapshot, bytes, int, bool] | None:
        """Read and compile; None if the texts are those in force. Runs in a thread, one at a time."""
        with unobtrusive():
            texts, absent = self._read()
            digest = _digest(texts)
            if digest == self._digest:
                return None
            snapshot = self._load(texts, self._generation + 1)
            large = sum(len(text.text) for text in texts) >= _LARGE
            if large:
                settle()
        if not absent:
            self._may_be_absent = False
        return snapshot, digest, len(texts), large

    def _read(self) -> tuple[list[PolicyText], bool]:
        """All texts as they stood at one moment, and whether paths are missing that may be."""
        for attempt in range(_READS):
            before = fingerprint(self._paths)
            present = {mark[0] for mark in before if any(mark[1:])}
            there = [path for path in self._paths if path in present]
            absent = self._may_be_absent and len(there) < len(self._paths)
            texts, problems = read_policy_texts(there if absent else self._paths)
            if fingerprint(self._paths) == before or attempt == _READS - 1:
                break
        if problems:
            raise PolicyError(problems)
        return texts, absent


def _take_apart(held: list[object]) -> None:
    """Free what was in force. Runs in a thread."""
    with unobtrusive():
        let_go(held)


def _digest(texts: Iterable[PolicyText]) -> bytes:
    """One digest of names and texts."""
    whole = sha256()
    for text in texts:
        for part in (text.file, text.text):
            data = part.encode("utf-8", "surrogateescape")
            whole.update(len(data).to_bytes(8, "big") + data)
    return whole.digest()
