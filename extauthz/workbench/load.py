"""Load for a server: h2load sends Checks, and what it saw is read as figures.

The generator is h2load (https://nghttp2.org/documentation/h2load.1.html; Debian: nghttp2-client): HTTP/2 with gRPC's
frames, in C, on one thread, so that it costs the machine little and its figures mean the same to everybody.

With a rate it sends by the clock and not when an answer has come (open loop), so that a server that stalls can't hide it,
as long as there is room for the requests that are due (``at_a_time``). Its clock ticks a hundred times a second on each
connection, and what is due is sent at once. So connections are opened a millisecond after each other, and take turns:
opened together they would tick together, and latency would be the time that a hundredth of a second's requests take.

What it can't see is inside the answers: a denial and an allow are both an answer.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extauthz.errors import ExtAuthzError

__all__ = ["Load", "Measure", "cpu_seconds", "h2load"]

_GRPC = ("content-type: application/grpc", "te: trailers")
_FINISHED = re.compile(r"finished in [^,]+, ([0-9.]+) req/s")
_COUNTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored")
_PATIENCE = 600.0
"""Seconds after which a run is given up."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent."""

    requests: int
    connections: int = 4
    at_a_time: int = 16
    """Requests at a time on each connection."""
    rate: float = 0
    """Requests a second, of all connections; 0: as fast as answers come."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One run of the generator."""

    per_second: float
    p50: float
    p99: float
    p999: float
    """Milliseconds."""
    done: int
    failed: int
    """Without an answer, or with another HTTP status than 200."""


def h2load(
    address: str,
    path: str,
    load: Load,
    *,
    message: bytes | None = None,
    deadline: float = 1.0,
    headers: Sequence[str] = (),
) -> Measure:
    """Send to ``host:port`` or ``unix:/path`` in plaintext, and measure.

    A ``message`` is sent as gRPC does, with a ``deadline`` in seconds; without one ``path`` is asked for by GET.

    Raises:
        ExtAuthzError: h2load is not there, or could not measure.

    """
    program = shutil.which("h2load")
    if program is None:
        raise ExtAuthzError("h2load is not installed: apt-get install nghttp2-client, or brew install nghttp2")
    with tempfile.TemporaryDirectory() as folder:
        log, data = Path(folder, "log"), Path(folder, "data")
        command = [
            program,
            f"--requests={load.requests}",
            f"--clients={min(load.connections, load.requests)}",
            f"--max-concurrent-streams={load.at_a_time}",
            "--threads=1",
            f"--log-file={log}",
        ]
        if load.rate:
            rate = load.rate / min(load.connections, load.requests)
            command += [f"--rps={rate:.3f}", "--rate=1", "--rate-period=1ms"]
        if message is not None:
            data.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
            command.append(f"--data={data}")
            headers = (*_GRPC, f"grpc-timeout: {max(1, int(deadline * 1000))}m", *headers)
        command += [word for header in headers for word in ("--header", header)]
        if address.startswith("unix:"):
            command += [f"--base-uri={address}", f"http://localhost{path}"]
        else:
            command.append(f"http://{address}{path}")
        try:
            run = subprocess.run(  # noqa: S603 - no shell, and the words are ours but for headers and path
                command, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            raise ExtAuthzError(f"h2load was not done after {_PATIENCE:.0f} s") from None
        return _read(run.stdout + run.stderr, log)


def _read(told: str, log: Path) -> Measure:
    """What h2load said and logged: begin, status and microseconds of each request."""
    lines = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    finished, counts = _FINISHED.search(told), _COUNTS.search(told)
    times = sorted(int(line[2]) / 1000 for line in lines if int(line[1]) > 0)
    if not finished or not counts or not times:
        last = next((line.strip() for line in reversed(told.splitlines()) if line.strip()), "nothing")
        raise ExtAuthzError(f"h2load got no answers; it says: {last}")
    failed = int(counts[2]) + int(counts[3]) + sum(line[1] != "200" for line in lines if int(line[1]) > 0)

    def quantile(share: float) -> float:
        return times[min(len(times) - 1, int(len(times) * share))]

    return Measure(float(finished[1]), quantile(0.5), quantile(0.99), quantile(0.999), len(times), failed)


def cpu_seconds(pid: int) -> float:
    """The seconds of CPU of a process and its children, such as a supervisor and its workers (Linux).

    Raises:
        ExtAuthzError: There is no such process, or no /proc.

    """
    tick = os.sysconf("SC_CLK_TCK")
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        raise ExtAuthzError(f"no process {pid} whose CPU could be read in /proc") from None
    return (int(fields[11]) + int(fields[12])) / tick + sum(cpu_seconds(int(child)) for child in children)
