"""Child processes that start in order, prove that they are ready, and never outlive us.

Model: a `Process` is one command with a log file and a readiness probe. It is started in its own process group, so a
Ctrl-C in the terminal reaches the parent alone and the parent decides the order of the ends. A `Supervisor` starts
several, waits until each is ready, notices the one that dies, and stops them in reverse order of their start: what
takes traffic goes before what it depends on.

No orphans: on Linux every child is started through `setpriv --pdeathsig`, so that the kernel ends it when the parent
is gone, even by SIGKILL. Elsewhere only an orderly exit of the parent cleans up.

Trade-off: the kernel ties that signal to the *thread* that started the child, so start processes from a thread that
lives as long as they do: the main thread, or a worker of an event loop that is still running. `setpriv` and the shell
behind it replace themselves by the command (the pid stays the same) and spare us a `preexec_fn`, which is unsafe next
to gRPC's threads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from mesh.address import Address, parse_address

Probe = Callable[[], bool]


class ProcessError(RuntimeError):
    """A process ended, or did not get ready in time; the message carries the end of its log."""


def accepts(address: str) -> Probe:
    """Ready once a TCP or unix connection is accepted."""
    where: Address = parse_address(address)

    def probe() -> bool:
        try:
            if where.is_unix:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
                    attempt.connect(where.path)
            else:
                socket.create_connection((where.host, where.port), timeout=1).close()
        except OSError:
            return False
        return True

    return probe


def answers(url: str) -> Probe:
    """Ready once an HTTP GET of the URL answers 200."""

    def probe() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - a loopback URL of our own
                return bool(response.status == HTTPStatus.OK)
        except (urllib.error.URLError, OSError):
            return False

    return probe


def _leash() -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    # The parent may be gone before the leash was on: then nobody would ever pull it.
    still_there = '[ "$PPID" = "$0" ] && exec "$@"'
    return [setpriv, "--pdeathsig", "TERM", "--", "/bin/sh", "-c", still_there, str(os.getpid())]


class Process:
    """One child process. A context manager: entering starts it and waits until it is ready, leaving stops it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        ready: Sequence[Probe] = (),
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        ready_within: float = 45.0,
        grace: float = 8.0,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._probes = tuple(ready)
        self._environment = dict(environment or {})
        self._directory = directory
        self._ready_within = ready_within
        self._grace = grace
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; raises RuntimeError before `start`."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs or was never started."""
        return self._child.poll() if self._child else None

    def start(self) -> Self:
        """Starts the command without waiting."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                [*_leash(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                cwd=self._directory,
                start_new_session=True,
            )
        return self

    def wait_ready(self) -> Self:
        """Waits until every probe succeeds; raises ProcessError when the process ends or the time is over."""
        deadline = time.monotonic() + self._ready_within
        for probe in self._probes:
            while not probe():
                if self.returncode is not None:
                    raise ProcessError(f"{self.name} ended with exit code {self.returncode}{self._log_end()}")
                if time.monotonic() > deadline:
                    raise ProcessError(f"{self.name} was not ready in {self._ready_within:g} s{self._log_end()}")
                time.sleep(0.02)
        return self

    def signal(self, number: signal.Signals) -> None:
        """Sends one signal to the process itself, if it still runs."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def stop(self) -> int | None:
        """SIGTERM, then after the grace SIGKILL for the whole group; returns the exit code."""
        if self._child is None:
            return None
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(self._grace)
        # The group too: a worker whose parent was killed must not stay behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        return self._child.wait()

    def _log_end(self, lines: int = 15) -> str:
        try:
            last = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            last = []
        return "".join(f"\n    {line}" for line in last) + f"\n  log: {self.log}"

    def __enter__(self) -> Self:
        self.start()
        try:
            return self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def silent(_: str) -> None:
    """Reports nothing."""


class Supervisor:
    """Several processes as one: started together, ready together, stopped in reverse order of their start."""

    def __init__(self, report: Callable[[str], None] = silent) -> None:
        self._report = report
        self._processes: list[Process] = []

    def start(self, *processes: Process) -> None:
        """Starts the given processes side by side and waits for all; on failure everything started is stopped."""
        began = time.monotonic()
        try:
            for process in processes:
                self._processes.append(process)
                process.start()
            for process in processes:
                process.wait_ready()
                self._report(f"{process.name} ready after {time.monotonic() - began:.1f} s")
        except BaseException:
            self.stop()
            raise

    def ended(self) -> Process | None:
        """The first process that is no longer running, if any."""
        return next((process for process in self._processes if process.returncode is not None), None)

    def stop(self) -> None:
        """Stops what was started, last first."""
        while self._processes:
            process = self._processes.pop()
            code = process.stop()
            self._report(f"{process.name} stopped" + (f" with exit code {code}" if code else ""))
