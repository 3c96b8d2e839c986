"""Background tasks with an owner: each runs for as long as the server does, and none dies unheard.

A task that ends or fails is started again after a pause, and the log says so each time. The pauses grow, so that a
task that can't work does not fill the log, and shrink back once it has run for a while. It is not allowed to end the
process: what runs here keeps things fresh (keys, policies, certificates), the server can go on with what it has, and
a process that exits because of a bad file would take its good decisions with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from extauthz.serving.faults import describe

__all__ = ["keep_running"]

_log = structlog.get_logger()

_LONGEST_PAUSE = 30.0
_HEALTHY_SECONDS = 60.0


async def keep_running(tasks: Mapping[str, Callable[[], Awaitable[None]]], first_pause: float = 1.0) -> None:
    """Run all tasks until cancelled; then all are cancelled and waited for.

    ``tasks`` are functions that make an awaitable, by the names that the log calls them by; ``first_pause`` is in
    seconds.
    """
    async with asyncio.TaskGroup() as group:
        for name, begin in tasks.items():
            group.create_task(_keep(name, begin, first_pause), name=name)


async def _keep(name: str, begin: Callable[[], Awaitable[None]], first_pause: float) -> None:
    clock = asyncio.get_running_loop().time
    pause = first_pause
    while True:
        started = clock()
        fault = "it ended by itself"
        try:
            await begin()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            fault = "what it waited for was cancelled"
        except Exception as error:  # noqa: BLE001 - whatever it is, the task has an owner that goes on
            fault = describe(error)
        if clock() - started >= _HEALTHY_SECONDS:
            pause = first_pause
        _log.error("background task ended, starting it again", task=name, fault=fault, pause=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
