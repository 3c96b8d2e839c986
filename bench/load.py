"""What the benchmarks share: servers as processes, a load generator that people know, and tables.

The generator is h2load, of Debian's ``nghttp2-client``: HTTP/2 with gRPC's frames, in C, on one thread. With ``rate`` it
sends by the clock and not when an answer has come (open loop), and latency counts from when a request was due.
"""

import os
import re
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

__all__ = ["Load", "Measure", "Served", "h2load", "median", "pinned", "require", "served", "spread"]

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measure:
    """One run of the generator."""

    per_second: float
    p50: float
    p99: float
    p999: float
    """Milliseconds."""
    done: int
    failed: int


@dataclass(frozen=True)
class Load:
    """What is sent."""

    requests: int
    connections: int = 4
    at_a_time: int = 16
    """Requests at a time on each connection."""
    rate: int = 0
    """Requests a second, of all connections; 0: as fast as answers come."""


@dataclass
class Served:
    """A server of ``bench.served``."""

    process: Any
    address: str
    message: Path
    """The CheckRequest that it expects, as gRPC frames it."""

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    @property
    def megabytes(self) -> float:
        """The resident set."""
        return resident(self.process.pid)


def require() -> str:
    """The generator; ends with a sentence if it is not there."""
    found = shutil.which("h2load")
    if found is None:
        raise SystemExit("this benchmark needs h2load: apt-get install nghttp2-client")
    return found


@contextmanager
def served(transport: str, kind: str, *, unix: bool = False, core: int | None = None) -> Iterator[Served]:
    """Run a server of ``bench.served``."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/check.sock" if unix else "127.0.0.1:0"
        message = Path(folder) / "message"
        command = [*pinned(core), sys.executable, "-m", "bench.served", transport, kind, address, str(message)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield Served(process, process.stdout.readline().strip() if process.stdout else "", message)
            finally:
                process.kill()


def pinned(core: int | None) -> Sequence[str]:
    """What keeps a command on one core, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    if core is None or len(cores) < 2 or shutil.which("taskset") is None:  # noqa: PLR2004 - two are needed
        return ()
    return ("taskset", "-c", str(cores[core % len(cores)]))


def h2load(
    address: str, load: Load, *, message: Path | None = None, headers: Sequence[str] = (), path: str = ""
) -> Measure:
    """Send, and measure. With a ``message`` it is sent as a Check by gRPC; else ``path`` is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [
            require(),
            f"--requests={load.requests}",
            f"--clients={min(load.connections, load.requests)}",
            f"--max-concurrent-streams={load.at_a_time}",
            "--threads=1",
            f"--log-file={log}",
        ]
        if load.rate:
            command.append(f"--rps={max(1, load.rate // load.connections)}")
        if message is not None:
            path = CHECK_METHOD
            headers = ("content-type: application/grpc", "te: trailers", "grpc-timeout: 1S", *headers)
            command.append(f"--data={message}")
        command += [word for header in headers for word in ("--header", header)]
        if address.startswith("unix:"):
            command += [f"--base-uri={address}", f"http://localhost{path}"]
        else:
            command.append(f"http://{address}{path}")
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        lines = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    found = re.search(r"finished in ([0-9.]+)(ms|s|us)?, ([0-9.]+) req/s", run.stdout)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", run.stdout)
    if not found or not counts or not lines:
        raise SystemExit(f"h2load did not measure:\n{run.stdout}\n{run.stderr}")
    times = sorted(int(line[2]) / 1000 for line in lines)

    def quantile(share: float) -> float:
        return times[min(len(times) - 1, int(len(times) * share))]

    failed = int(counts[2]) + int(counts[3]) + sum(line[1] != "200" for line in lines)
    return Measure(float(found[3]), quantile(0.5), quantile(0.99), quantile(0.999), len(times), failed)


def resident(pid: int) -> float:
    """The resident set of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_of(pid: int) -> float:
    """The seconds of CPU of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """From the lowest to the highest."""
    return f"{min(values):.2f} to {max(values):.2f}"
