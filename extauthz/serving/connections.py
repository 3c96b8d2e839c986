"""The connections of an HTTP listener: taken from its socket, never more at a time than stated.

asyncio's own servers take whatever comes and know nothing of a connection before its TLS handshake has ended, so clients
that say nothing could use up the descriptors of the process, and the Checks with them. Here a connection counts from the
moment it is taken. While it waits for its client (for the handshake, for a request, for the rest of one) it gives way to
newer ones once there are too many, the longest wait first: who speaks at once is served, however many are silent. Those
whose requests are being answered stay; if all are, nothing is taken until one is free, and the queue of the kernel holds
the rest, from which other processes with the same socket may take them.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from extauthz.serving.faults import describe

__all__ = ["Connections"]

_log = structlog.get_logger()

_HANDSHAKE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0
"""How long a client has to say that it has heard of the end."""
_AT_ONCE = 16
"""Connections that are taken before others have their turn."""
_PAUSE_SECONDS = 1.0
"""After the system could not give a connection: it is out of descriptors or memory."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Connections:
    """Of one listening socket, in the running event loop. uvicorn takes it for one of asyncio's servers."""

    def __init__(self, listening: socket.socket, context: ssl.SSLContext | None, *, most: int) -> None:
        """Nothing is taken before ``open``; ``context`` is for TLS."""
        self._socket = listening
        self._make: Callable[[], asyncio.Protocol] = asyncio.Protocol
        self._context = context
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        # Handshakes and connections that hold a place.
        self._places: set[object] = set()
        # What ends each one that waits for its client, the longest wait first.
        self._waiting: dict[object, Callable[[], object]] = {}
        self._taking = False
        self._closed = False
        self.cut = 0
        """Connections that were ended to make room."""
        self.malformed = 0
        """What came and was no request."""
        self.leaving = False
        """Whether clients should go elsewhere with their next request."""

    def open(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Begin to take connections; ``make`` gives what speaks on each."""
        self._make = make
        self._socket.setblocking(False)
        self._resume()

    @property
    def held(self) -> int:
        """How many there are."""
        return len(self._places)

    def opened(self, protocol: asyncio.Protocol) -> None:
        """Count a connection whose handshake is over."""
        self._places.add(protocol)

    def waits(self, protocol: asyncio.Protocol, end: Callable[[], object]) -> None:
        """Note that a connection waits for its client from now on; ``end`` cuts it off."""
        self._waiting[protocol] = end
        self._resume()

    def works(self, protocol: asyncio.Protocol) -> None:
        """Note that a request of a connection is answered, so that it must stay."""
        self._waiting.pop(protocol, None)

    def lost(self, protocol: asyncio.Protocol) -> None:
        """Forget a connection that is closed."""
        self._waiting.pop(protocol, None)
        self._places.discard(protocol)
        self._resume()

    def close(self) -> None:
        """Take no more, and end the handshakes under way."""
        self._closed = True
        self._pause()
        for task in self._handshakes:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until the handshakes have ended."""
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _resume(self) -> None:
        if not self._taking and not self._closed:
            self._loop.add_reader(self._socket, self._take)
            self._taking = True

    def _pause(self) -> None:
        if self._taking:
            self._loop.remove_reader(self._socket)
            self._taking = False

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            if len(self._places) >= self._most and not self._waiting:
                self._pause()
                return
            try:
                taken, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                _log.error("no connection can be taken now, trying again", fault=describe(error), pause=_PAUSE_SECONDS)
                self._pause()
                self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            if len(self._places) >= self._most:
                self._make_room()
            task = self._loop.create_task(self._begin(taken))
            self._handshakes.add(task)
            self._places.add(task)
            self._waiting[task] = task.cancel
            task.add_done_callback(partial(self._begun, taken))

    def _make_room(self) -> None:
        """End the connection that has waited longest for its client. It needs a moment, but holds no place any more."""
        self.cut += 1
        longest = next(iter(self._waiting))
        self._places.discard(longest)
        self._waiting.pop(longest)()

    async def _begin(self, taken: socket.socket) -> None:
        """Shake hands; from then on the connection speaks for itself."""
        handshake, goodbye = (None, None) if self._context is None else (_HANDSHAKE_SECONDS, _GOODBYE_SECONDS)
        try:
            # What a client does wrong in a handshake is no news, and what it says may hold anything.
            with suppress(OSError, asyncio.CancelledError):
                await self._loop.connect_accepted_socket(
                    self._make,
                    taken,
                    ssl=self._context,
                    ssl_handshake_timeout=handshake,
                    ssl_shutdown_timeout=goodbye,
                )
        except Exception as error:  # noqa: BLE001 - a fault in one connection must not end the others
            _log.error("a connection could not be begun", fault=describe(error))
            taken.close()

    def _begun(self, taken: socket.socket, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            # Before it had its first turn, so that nobody else has the socket.
            taken.close()
        self._handshakes.discard(task)
        self._places.discard(task)
        self._waiting.pop(task, None)
        self._resume()
