"""Back-pressure of the decision log: no Check is let in while there is no room for its record.

For those who must have a record of everything that was allowed. A Check that comes while the log is full waits before it is
looked at, not after: what it is judged by is then as young as ever, and nothing was counted for it. It waits within its own
deadline and holds up nobody. When there is room it is decided in the time that is left; when there is none by then, it is
denied as one whose turn came too late (``overloaded``). The number of those that wait is bounded.

Who does not ask for this has the handler itself instead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from extauthz.serving.transport import Call, Handler

__all__ = ["Log", "PatientHandler"]

_TOO_LATE = 0.0


class Log(Protocol):
    """What takes the records."""

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        ...

    def when_room(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` once there is room, from any thread."""
        ...


class PatientHandler:
    """Implements ``extauthz.serving.transport.Handler``: the handler behind it decides, once the log has room."""

    def __init__(
        self,
        handler: Handler,
        log: Log,
        held_back: Callable[[], None],
        *,
        deadline: float,
        max_waiting: int,
        clock: Callable[[], float],
    ) -> None:
        """Keep the parts. ``held_back`` counts those that wait; ``deadline`` is in seconds, as is the monotonic ``clock``."""
        self._handler = handler
        self._log = log
        self._held_back = held_back
        self._deadline = deadline
        self._max_waiting = max_waiting
        self._waiting = 0
        self._clock = clock
        self._room: asyncio.Event | None = None

    def __call__(self, message: bytes, call: Call) -> bytes | Awaitable[bytes]:
        """Answer one CheckRequest."""
        if not self._log.full:
            return self._handler(message, call)
        self._held_back()
        remaining = call.time_remaining
        budget = self._deadline if remaining is None else min(self._deadline, remaining)
        if budget <= 0 or self._waiting >= self._max_waiting:
            return self._handler(message, Call(call.metadata, _TOO_LATE))
        self._waiting += 1
        return self._wait(message, call, budget)

    async def _wait(self, message: bytes, call: Call, budget: float) -> bytes:
        began = self._clock()
        try:
            async with asyncio.timeout(budget):
                await self._when_room()
            left = max(budget - (self._clock() - began), _TOO_LATE)
        except TimeoutError:
            left = _TOO_LATE
        finally:
            self._waiting -= 1
        answer = self._handler(message, Call(call.metadata, left))
        return answer if isinstance(answer, bytes) else await answer

    async def _when_room(self) -> None:
        while self._log.full:
            if self._room is None:
                self._room = asyncio.Event()
                self._log.when_room(partial(self._tell, asyncio.get_running_loop()))
            await self._room.wait()

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """From any thread: let those that wait look again."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(self._let_in)

    def _let_in(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
