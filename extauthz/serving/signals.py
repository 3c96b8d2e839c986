"""The signals of a server: what stops it, what means that something changed, what makes it say more."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["heard"]


@contextmanager
def heard(stop: Callable[[], None], hung_up: Callable[[], None], toggle_debug: Callable[[], None]) -> Iterator[None]:
    """Call back for each SIGTERM and SIGINT, for each SIGHUP and for each SIGUSR2.

    SIGHUP is left alone if it is ignored already, as under nohup.
    """
    loop = asyncio.get_running_loop()
    wanted: dict[int, Callable[[], None]] = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGUSR2: toggle_debug}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted[signal.SIGHUP] = hung_up
    for one, callback in wanted.items():
        loop.add_signal_handler(one, callback)
    try:
        yield
    finally:
        for one in wanted:
            loop.remove_signal_handler(one)
