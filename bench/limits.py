"""What a rate costs: CPU of one charge with 1, 10,000 and 1,000,000 callers, and their memory.

    python -m bench.limits              half a minute; exit code 1 if a promise is broken

Each row is measured in a process of its own, in which nothing but a limiter is, and all of its callers are active: each was
granted a request at the beginning of the last minute and one at its end, so that each window has its full width. Then
callers chosen at random are charged: *granted*, and *refused* when their rate is no more than what they used. *First* is the charge of a
caller who is not known yet, and *flooded* the same when there is no room, so that another one is forgotten each time.
*Longest* is the longest single one of those, as tables grow in them.

Figures are CPU time of the process, the best of several rounds. A charge is made shortly before it is counted, as it is in
a Check. The promises are 3 us for a charge that is granted at 100 a minute, and 450 MB for a million callers at any rate.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.report import promised
from extauthz.limits import MemoryLimiter
from extauthz.model import Charge, Rate

BATCH = 1000
USED = Rate(2)
"""What each caller has used when all are active."""
BATCHES = 20
ROUNDS = 5
PROMISED_AT = 100
PROMISED_US = 3.0
PROMISED_MB = 450.0


@dataclass(frozen=True)
class Row:
    """How many callers there are, and their rate."""

    callers: int
    rate: Rate

    def __str__(self) -> str:
        """Its name in the table."""
        burst = "" if self.rate.burst is None else f", {self.rate.burst} a second"
        return f"{self.callers:>9,} at {self.rate.per_minute:,} a minute{burst}"


ROWS = (
    Row(1, Rate(1_000_000)),
    Row(10_000, Rate(100)),
    Row(1_000_000, Rate(100)),
    Row(1_000_000, Rate(100, 20)),
    Row(1_000_000, Rate(1_000_000)),
)


class Clock:
    """A clock that takes as long to read as a real one, and goes as it is told."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        time.monotonic()
        return self.now


def charged(callers: Iterable[int], rate: Rate) -> list[Charge]:
    """Charges of these callers."""
    return [
        Charge(hashlib.blake2b(caller.to_bytes(8, "big"), digest_size=16).digest(), rate, "orders", "read")
        for caller in callers
    ]


def resident() -> float:
    """Megabytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def asked(limiter: MemoryLimiter, row: Row, rate: Rate) -> tuple[float, int]:
    """Microseconds of one charge of callers at random, the best round; and how many were granted in all."""
    chosen, best, granted = random.Random(1), float("inf"), 0  # noqa: S311 - what is chosen is no secret
    for _ in range(ROUNDS):
        spent = 0.0
        for _ in range(BATCHES):
            charges = charged((chosen.randrange(row.callers) for _ in range(BATCH)), rate)
            began = time.process_time()
            for charge in charges:
                granted += limiter.take(charge).granted
            spent += time.process_time() - began
        best = min(best, spent)
    return best / (BATCH * BATCHES) * 1e6, granted


def first(limiter: MemoryLimiter, callers: range, rate: Rate) -> tuple[float, float]:
    """Microseconds of the charge of a caller who is not known, on average, and of the longest."""
    spent, longest = 0.0, 0.0
    for begin in range(callers.start, callers.stop, BATCH):
        for charge in charged(range(begin, min(begin + BATCH, callers.stop)), rate):
            began = time.thread_time()
            limiter.take(charge)
            took = time.thread_time() - began
            spent, longest = spent + took, max(longest, took)
    return spent / len(callers) * 1e6, longest * 1e6


def figures(row: Row) -> dict[str, float]:
    """One row, in a fresh process."""
    clock = Clock()
    empty = resident()
    limiter = MemoryLimiter(clock=clock, max_keys=row.callers)
    new, longest = first(limiter, range(row.callers), row.rate)
    clock.now = 59.0
    for begin in range(0, row.callers, BATCH):
        for charge in charged(range(begin, min(begin + BATCH, row.callers)), row.rate):
            limiter.take(charge)
    grown = resident() - empty
    clock.now = 60.0
    granted, count = asked(limiter, row, row.rate)
    refused, none = asked(limiter, row, USED)
    if count != ROUNDS * BATCHES * BATCH or none or limiter.counts().forgotten:
        raise SystemExit(f"{row}: {count} granted, {none} not refused, {limiter.counts()}")
    found = {"granted": granted, "refused": refused, "first": new, "longest": longest, "MB": grown}
    if row.callers > 1:
        flooded = range(row.callers, row.callers + max(row.callers // 4, BATCH))
        found["flooded"], longest = first(limiter, flooded, row.rate)
        found["longest"] = max(found["longest"], longest)
    return found


def main() -> int:
    """Print the table; 1 if a promise is broken."""
    began = time.monotonic()
    names = ("granted", "refused", "first", "flooded", "longest")
    print(f"{'CPU of one charge, us':<46}" + "".join(f"{name:>9}" for name in names) + f"{'MB':>8}{'bytes':>7}")
    kept = True
    for number, row in enumerate(ROWS):
        run = subprocess.run([sys.executable, "-m", "bench.limits", str(number)], capture_output=True, check=True)
        found = json.loads(run.stdout)
        over = False
        if row.rate.per_minute == PROMISED_AT:
            over = not promised(f"a charge, {str(row).strip()}", found["granted"], PROMISED_US, unit="us")
        if row.callers > PROMISED_AT:
            over |= not promised(f"counters of {str(row).strip()}", found["MB"], PROMISED_MB, unit="MB")
        kept = kept and not over
        print(
            f"{row!s:<46}"
            + "".join(f"{found[name]:>9.2f}" if name in found else f"{'':>9}" for name in names)
            + (f"{found['MB']:>8.1f}{found['MB'] * 1e6 / row.callers:>7.0f}" if row.callers > 1 else f"{'':>15}")
            + ("   over" if over else ""),
            flush=True,
        )
    print(f"{sys.version.split()[0]} on {os.cpu_count()} cores, {time.monotonic() - began:.0f} s")
    return int(not kept)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(figures(ROWS[int(sys.argv[1])])))
    else:
        sys.exit(main())
