"""The life of an agent: its pages open, its keeper runs, and it ends in order."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from extauthz.agent.keeper import TokenKeeper
from extauthz.serving import PageServer, heard, keep_running

__all__ = ["run"]

_log = structlog.get_logger(__name__)


async def run(keeper: TokenKeeper, pages: Sequence[PageServer], toggle_debug: Callable[[], None]) -> None:
    """Keep the token until SIGTERM or SIGINT. SIGHUP renews it now, SIGUSR2 makes the log say more, and less again.

    The token stays where it is: the workload may live longer than we do. A question under way is waited for, unless a
    second signal comes.

    Raises:
        ServingError: A page can't be opened, or its listener has ended.
    """
    asked, hurried = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurried if asked.is_set() else asked).set()

    with heard(stop, keeper.hurry, toggle_debug):
        opened: list[PageServer] = []
        try:
            for page in pages:
                address = await page.open()
                opened.append(page)
                _log.info("listening", page=page.name, address=str(address))
            keeping = asyncio.create_task(keep_running({"token": keeper.run}), name="token")
            ends = [asyncio.create_task(page.wait_closed()) for page in opened]
            told = asyncio.create_task(asked.wait())
            await asyncio.wait({told, keeping, *ends}, return_when=asyncio.FIRST_COMPLETED)
            failed = [end for end in ends if end.done()]
            for task in (told, keeping, *ends):
                task.cancel()
            rushed = asyncio.create_task(hurried.wait())
            await asyncio.wait({rushed, asyncio.create_task(keeper.finish())}, return_when=asyncio.FIRST_COMPLETED)
            rushed.cancel()
        finally:
            for page in opened:
                await page.stop()
        for end in failed:
            await end
        _log.info("stopped")
