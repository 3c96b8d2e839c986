"""Clients of a token service for benchmarks: as little of the machine as they can do with, and what they ask for by the clock.

HTTP/1.1 by hand over kept connections: a client library would cost several times what is measured.
"""

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mesh.replicas import CLIENT, Replicas

__all__ = ["Connection", "connected", "issuing"]

NEW = urlencode({"grant_type": "client_credentials"}).encode()


@dataclass
class Connection:
    """One kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes

    async def token(self, refresh: str = "") -> dict[str, Any]:
        """A new token, or the one that follows."""
        form = urlencode({"grant_type": "refresh_token", "refresh_token": refresh}).encode() if refresh else NEW
        self.writer.write(b"%scontent-length: %d\r\n\r\n%s" % (self.head, len(form), form))
        answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length:")[2].split(b"\r\n")[0])
        told: dict[str, Any] = json.loads(await self.reader.readexactly(length))
        if "access_token" not in told:
            raise SystemExit(f"no token: {told}")
        return told


@asynccontextmanager
async def connected(replicas: Replicas, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections to the first replica."""
    where = replicas.all[0].desk.url.removeprefix("http://")
    host, _, port = where.partition(":")
    proof = base64.b64encode(f"{CLIENT}:{replicas.secret}".encode()).decode()
    head = f"POST /oauth2/token HTTP/1.1\r\nhost: {where}\r\nauthorization: Basic {proof}\r\n"
    head += "content-type: application/x-www-form-urlencoded\r\n"
    opened = [Connection(*await asyncio.open_connection(host, int(port)), head.encode()) for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.writer.close()


@contextmanager
def issuing(replicas: Replicas, rate: float) -> Iterator[list[float]]:
    """So many tokens a second, by the clock and by four connections, beside what the block does; gives when each was there."""
    over, done = threading.Event(), list[float]()

    async def run() -> None:
        async with connected(replicas, 4) as connections, asyncio.TaskGroup() as group:
            for number, connection in enumerate(connections):
                group.create_task(asking(connection, number * 1.0 / rate, len(connections) / rate))

    async def asking(connection: Connection, first: float, every: float) -> None:
        due = time.monotonic() + first
        while not over.is_set():
            await asyncio.sleep(due - time.monotonic())
            await connection.token()
            done.append(time.monotonic())
            due = max(due + every, time.monotonic() - every)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()
