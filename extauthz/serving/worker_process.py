"""One worker process, as its supervisor sees it: started, asked how it is, told to stop."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from extauthz.serving.worker import WorkerPlace

__all__ = ["WorkerProcess"]

_ASK_SECONDS = 1.0
"""How long a worker has to say how it is."""


class WorkerProcess:
    """A worker. There is no process before ``start``, and another one after each."""

    def __init__(self, place: WorkerPlace) -> None:
        """Nothing is started yet."""
        self.place = place
        self.began = 0.0
        """When it was started, in seconds of the event loop."""
        self.ready = False
        """It said so the last time it was asked."""
        self.renewing = False
        """It was told to stop, so that it can be started anew."""
        self.restarts = 0
        """How often it was started again after it had died."""
        self.figures = b""
        """What it counted, the last time that it was asked."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def number(self) -> int:
        """The first one is 0."""
        return self.place.number

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    @property
    def status(self) -> int | None:
        """The exit status of the process that was there; None if there is one, or never was."""
        return None if self._process is None else self._process.returncode

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process."""
        with suppress(FileNotFoundError):
            os.unlink(self.place.admin)  # noqa: PTH108 - of a folder in memory, as a rule
        self.ready = self.renewing = False
        self.began = asyncio.get_running_loop().time()
        self._process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=self.place.descriptors,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C on a terminal is the supervisor's to pass on
        )

    def tell(self, what: signal.Signals) -> None:
        """Send a signal, if there is a process."""
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(what)

    async def ended(self) -> None:
        """Wait until there is no process."""
        if self._process is not None:
            await self._process.wait()

    async def ask(self) -> None:
        """Ask whether it is ready."""
        answer = await self.get("/readyz")
        self.ready = not self.renewing and answer is not None and answer.strip() == b"ready"

    async def count(self) -> bool:
        """Ask what it has counted; False if it does not say."""
        found = await self.get("/metrics")
        self.figures = found or self.figures
        return found is not None

    async def get(self, path: str) -> bytes | None:
        """What its admin listener answers; None if it does not."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self.place.admin)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n".encode())
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None
        return answer.partition(b"\r\n\r\n")[2] or None

    async def report(self) -> Iterator[str]:
        """How it is, for people."""
        text = await self.get("/readyz?verbose")
        sign = "+" if self.ready else "-"
        told = f"[{sign}] worker {self.number}"
        again = f", started again {self.restarts} times" if self.restarts else ""
        if text is None:
            why = "is started anew" if self.renewing else "does not answer"
            return iter([f"{told}: {why}{again}"])
        *lines, verdict = text.decode("utf-8", "replace").rstrip("\n").split("\n")
        return iter([f"{told}: {verdict}{again}", *(f"    {line}" for line in lines)])
