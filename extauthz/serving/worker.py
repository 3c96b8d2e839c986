"""One of several worker processes, as it sees itself: where it listens, and whom it must not outlive.

Worker ``k`` answers Checks ``k`` ports above the address of ``listen.check``, or on the unix socket with ``-k`` before its
suffix; worker 0 has the address as it is written. What arrives on the http listener it takes from one socket, which the supervisor
has opened for all of them. Its admin listener is a unix socket that only the supervisor reads. The supervisor holds the
other end of a pipe: when that ends, nobody looks after this process any more, and it stops.
"""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import structlog

from extauthz.serving.listener import Listener, TcpAddress, UnixAddress

__all__ = ["WorkerPlace", "until_gone"]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where one worker is."""

    number: int
    lifeline: int
    """A descriptor at whose end the supervisor is gone."""
    admin: str
    """The path of the unix socket of its admin listener."""
    http: int | None = None
    """The descriptor of the listening socket of the http listener; None: the supervisor has opened none."""

    @property
    def argument(self) -> str:
        """As it is handed to the worker on its command line."""
        return f"{self.number}:{self.lifeline}:{'' if self.http is None else self.http}:{self.admin}"

    @classmethod
    def parse(cls, argument: str) -> "WorkerPlace":
        """Read ``argument``. Raises ValueError."""
        number, lifeline, http, admin = argument.split(":", 3)
        return cls(int(number), int(lifeline), admin, int(http) if http else None)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the worker inherits."""
        return (self.lifeline,) if self.http is None else (self.lifeline, self.http)

    def check(self, listener: Listener) -> Listener:
        """Where this worker answers Checks, given where the first one does."""
        address = listener.address
        if self.number == 0:
            return listener
        if isinstance(address, TcpAddress):
            port = address.port + self.number if address.port else 0
            return replace(listener, address=TcpAddress(address.host, port))
        path = PurePosixPath(address.path)
        return replace(listener, address=UnixAddress(str(path.with_name(f"{path.stem}-{self.number}{path.suffix}"))))

    @property
    def admin_listener(self) -> Listener:
        """Where it tells the supervisor how it is."""
        return Listener(UnixAddress(self.admin), socket_mode=0o600)


async def until_gone(descriptor: int) -> None:
    """Wait until the supervisor that holds the other end of a pipe is gone."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
    _log.error("the supervisor is gone, stopping")
