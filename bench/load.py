"""What the benchmarks share: servers as processes, a load generator that people know, and tables.

The generator is that of ``extauthz bench``: h2load, of Debian's ``nghttp2-client``.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extauthz.serving import CHECK_METHOD
from extauthz.workbench.load import Load, Measure, cpu_seconds, h2load

__all__ = [
    "CHECK_METHOD",
    "Load",
    "Measure",
    "Served",
    "cpu_seconds",
    "h2load",
    "median",
    "pinned",
    "progress",
    "require",
    "resident",
    "served",
    "spread",
]


@dataclass
class Served:
    """A server of ``bench.served``."""

    process: Any
    address: str
    folder: Path
    """What it wrote for those who ask it: ``message``, ``token`` and ``jwks``."""

    @property
    def message(self) -> bytes:
        """The CheckRequest that it expects."""
        return (self.folder / "message").read_bytes()

    @property
    def token(self) -> str:
        """The token in it."""
        return (self.folder / "token").read_text()

    @property
    def jwks(self) -> str:
        """The key set that verifies the token."""
        return (self.folder / "jwks").read_text()

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return self._told()[0]

    @property
    def allowed(self) -> int:
        """How many Checks it has allowed so far; only of the kind ``counted``."""
        return int(self._told()[1])

    def _told(self) -> tuple[float, float]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        cpu, allowed = self.process.stdout.readline().split()
        return float(cpu), float(allowed)

    @property
    def megabytes(self) -> float:
        """The resident set."""
        return resident(self.process.pid)


def require() -> None:
    """End with a sentence if the generator is not there."""
    if shutil.which("h2load") is None:
        raise SystemExit("this benchmark needs h2load: apt-get install nghttp2-client")


@contextmanager
def served(transport: str, kind: str, *, unix: bool = False, core: int | None = None) -> Iterator[Served]:
    """Run a server of ``bench.served``."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/check.sock" if unix else "127.0.0.1:0"
        command = [*pinned(core), sys.executable, "-m", "bench.served", transport, kind, address, folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield Served(process, process.stdout.readline().strip() if process.stdout else "", Path(folder))
            finally:
                process.kill()


def pinned(core: int | None) -> Sequence[str]:
    """What keeps a command on one core, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    if core is None or len(cores) < 2 or shutil.which("taskset") is None:  # noqa: PLR2004 - two are needed
        return ()
    return ("taskset", "-c", str(cores[core % len(cores)]))


def resident(pid: int) -> float:
    """The resident set of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def progress(doing: str = "") -> None:
    """Say on a terminal what is going on; nothing when it is over."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{doing:<60}" if doing else f"\r{'':<60}\r")
        sys.stderr.flush()


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """From the lowest to the highest."""
    return f"{min(values):.2f} to {max(values):.2f}"
