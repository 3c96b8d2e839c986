"""Questions to another server that are under way, one for each digest of what is asked about.

However many requests wait for the answer to one question, it is asked once; a request that gives up harms none of the
others. The number is bounded, so that a server that hangs holds up a bounded number of its own callers and nobody else.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from extauthz.identity.circuit import Circuit

__all__ = ["Flights"]


class Flights:
    """The questions to one server. Belongs to one event loop."""

    def __init__(self, name: str, limit: int, circuit: Circuit) -> None:
        """At most ``limit`` at a time, as far as ``circuit`` lets any through; ``name`` is what their tasks are called."""
        self._name = name
        self._limit = limit
        self._circuit = circuit
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    def joinable(self, digest: bytes, now: float) -> bool:
        """Whether this question is under way or may be asked."""
        return digest in self._tasks or self.admits(now)

    def admits(self, now: float) -> bool:
        """Whether one more may be asked."""
        under_way = len(self._tasks)
        return under_way < self._limit and self._circuit.admits(now, under_way=under_way)

    async def join(
        self, digest: bytes, ask: Callable[[], Coroutine[None, None, None]], needed: Callable[[], bool]
    ) -> None:
        """Wait for the question under way, or ask it if it is ``needed`` still. ``ask`` must not raise."""
        task = self._tasks.get(digest)
        if task is None:
            if not needed():
                return
            task = self._tasks[digest] = asyncio.create_task(ask(), name=self._name)
            task.add_done_callback(partial(self._landed, digest))
        # wait() and not await: cancelling the waiter must not cancel what others wait for.
        await asyncio.wait((task,))

    async def end(self) -> None:
        """Cancel all and wait until they have ended."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _landed(self, digest: bytes, _task: asyncio.Task[None]) -> None:
        del self._tasks[digest]
