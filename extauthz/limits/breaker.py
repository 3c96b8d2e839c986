"""Whether a store is asked: not after some failures in a row, until a probe of ours finds it well.

Requests never probe. One task does, with a pause that doubles up to a bound and is scattered, so that a store which comes
back meets one small question of each replica, spread over some seconds, and not all the traffic at once.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

__all__ = ["Breaker"]

_FAILURES: Final = 3
"""In a row, until the store counts as down."""
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 4.0
_HEARTBEAT: Final = 5.0
"""Seconds between probes while all is well."""


class Breaker:
    """Closed while the store is asked. Belongs to one event loop."""

    __slots__ = ("_clock", "_failures", "_opened", "_pause", "closed", "error", "next_probe", "since")

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin closed: the first request asks."""
        self._clock = clock
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._opened = asyncio.Event()
        self.closed = True
        self.error = ""
        self.since = clock()
        self.next_probe = clock()
        """By the clock, at the latest."""

    def succeeded(self) -> None:
        """Note an answer. One to a question from before it opened does not close it: only a probe does."""
        if self.closed:
            self._failures = 0
            self.error = ""

    def failed(self, error: str) -> None:
        """Note that a request had no answer."""
        self.error = error
        self._failures += 1
        if self._failures >= _FAILURES:
            self._open()

    def probe_succeeded(self) -> None:
        """The store is well: requests ask it again."""
        if not self.closed:
            self.closed = True
            self.since = self._clock()
        self._opened.clear()
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self.error = ""

    def probe_failed(self, error: str) -> None:
        """The store is down, whatever requests have seen."""
        self.error = error
        self._open()

    async def until_next_probe(self) -> None:
        """Wait as long as the state wants; not to the end of a heartbeat if the store fails meanwhile."""
        if self.closed:
            pause = _scattered(_HEARTBEAT)
            self.next_probe = self._clock() + pause
            try:
                async with asyncio.timeout(pause):
                    await self._opened.wait()
            except TimeoutError:
                return
        pause, self._pause = _scattered(self._pause), min(self._pause * 2, _LONGEST_PAUSE)
        self.next_probe = self._clock() + pause
        await asyncio.sleep(pause)

    def _open(self) -> None:
        self._opened.set()
        if self.closed:
            self.closed = False
            self.since = self._clock()


def _scattered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
