"""Connections that are kept for the next question, a bounded number of them.

A connection that is idle may have been closed by the other side (a restart, an idle limit, a firewall). What can be seen
of that is looked at before it is used; what shows only in use costs one more attempt, on a new connection. Whoever finds
all connections taken waits, within the time that a sign-in has in all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from extauthz.errors import EntryError
from extauthz.ldap.connection import Connection, ConnectionLostError

__all__ = ["Pool"]

MAX_IDLE = 60.0
"""Seconds after which an idle connection is not used any more: firewalls forget connections without telling."""

_T = TypeVar("_T")


class Pool:
    """Connections of one sort. Belongs to one event loop."""

    def __init__(self, open_: Callable[[], Awaitable[Connection]], size: int) -> None:
        """Begin empty; ``open_`` makes a connection that is ready for questions."""
        self._open = open_
        self._slots = asyncio.Semaphore(size)
        self._idle: list[tuple[float, Connection]] = []

    async def use(self, question: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Ask on a connection that nobody else uses meanwhile. If that fails or is cancelled, it is not used again;
        an ``EntryError`` is about a person and not about the connection.

        Raises:
            UpstreamError: From making a connection, or from the question.
        """
        async with self._slots:
            idle = self._take()
            if idle is not None:
                try:
                    return await self._ask(idle, question)
                except ConnectionLostError:
                    # The others have probably gone with it.
                    self.drop_idle()
            return await self._ask(await self._open(), question)

    def drop_idle(self) -> list[Connection]:
        """Begin to close what nobody uses."""
        dropped = [connection for _, connection in self._idle]
        self._idle.clear()
        for connection in dropped:
            connection.close()
        return dropped

    async def _ask(self, connection: Connection, question: Callable[[Connection], Awaitable[_T]]) -> _T:
        try:
            answer = await question(connection)
        except EntryError:
            self._keep(connection)
            raise
        except BaseException:
            connection.abort()
            raise
        self._keep(connection)
        return answer

    def _keep(self, connection: Connection) -> None:
        self._idle.append((asyncio.get_running_loop().time(), connection))

    def _take(self) -> Connection | None:
        """The connection that was used last, if it can still be used."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.ended and now - since < MAX_IDLE:
                return connection
            connection.close()
        return None
