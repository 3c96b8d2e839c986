"""A real redis-server with an empty memory, started by a test and owned by it; and a road to it that can be slow."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from extauthz.stores import StoreSettings
from tests.conftest import system_program
from tests.owned_server import OwnedServer, free_port, takes_connections


@dataclass
class RedisServer(OwnedServer):
    """One server. It keeps nothing on disk."""

    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    sentinel: bool = False

    @property
    def socket(self) -> Path:
        return self.folder / f"{self.port}.sock"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        program = system_program("redis-server")
        assert program is not None
        file = self.folder / f"{self.port}.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self.socket}", f"dir {self.folder}", 'save ""']
        if self.sentinel:
            lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}"]
        file.write_text("\n".join([*lines, *self.options, ""]))
        command = [program, file] + (["--sentinel"] if self.sentinel else [])
        self.launch(command)
        self.until(lambda: takes_connections(self.port))

    def command(self, *words: str) -> str:
        """Say something to it, and give its answer, as text."""
        program = system_program("redis-cli")
        assert program is not None
        done = subprocess.run(
            [program, "-p", str(self.port), *words], check=True, capture_output=True, timeout=10, text=True
        )
        return done.stdout.strip()

    def settings(self) -> StoreSettings:
        """Settings for this server, with time for a busy machine."""
        return StoreSettings(self.url, timeout=2.0)


@contextlib.contextmanager
def running(folder: Path, *options: str, sentinel: bool = False) -> Iterator[RedisServer]:
    """A server for the length of a block."""
    server = RedisServer(folder, options, sentinel=sentinel)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def cluster(folder: Path, *more: str) -> Iterator[list[RedisServer]]:
    """Three nodes that share all slots, for the length of a block."""
    talk = [free_port() for _ in "abc"]
    with contextlib.ExitStack() as stack:
        nodes = []
        for name, port in zip("abc", talk, strict=True):
            (folder / name).mkdir()
            options = ("cluster-enabled yes", f"cluster-port {port}", *more)
            nodes.append(stack.enter_context(running(folder / name, *options)))
        for node, (first, last) in zip(nodes, [(0, 5460), (5461, 10922), (10923, 16383)], strict=True):
            node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            for other, port in zip(nodes, talk, strict=True):
                node.command("CLUSTER", "MEET", "127.0.0.1", str(other.port), str(port))
        end = time.monotonic() + 30
        while not all("cluster_state:ok" in node.command("CLUSTER", "INFO") for node in nodes):
            assert time.monotonic() < end
            time.sleep(0.05)
        yield nodes


class Road:
    """A TCP proxy to a server, which takes its time on the way back."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.delay = 0.0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.to)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._copy(reader, forth, slow=False))
                    group.create_task(self._copy(back, writer, slow=True))
            finally:
                forth.close()
        except* OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await reader.read(65536):
            if slow:
                await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Road"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
