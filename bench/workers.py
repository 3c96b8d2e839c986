"""One process and two: the CPU of a Check, and how many a second.

    python -m bench.workers             a minute; needs h2load

`extauthz serve` as people run it, with a remembered token and a role policy. Each worker gets the same Checks a second, sent
by the clock: one that has less to do takes longer for each, as they come one by one. Then each gets as many as it answers;
where two cores are shared with the generator that figure can't double.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.identity import check
from bench.lasting import POLICY, SECRET
from bench.load import CHECK_METHOD, Load, Measure, cpu_seconds, h2load, median, require, spread
from bench.memory import hs256
from bench.report import promised
from extauthz.errors import UpstreamError
from extauthz.serving import ask_once

ROUNDS = 3
RATE = 4_000
"""Checks a second, of each worker."""
SECONDS = 3
FULL = 20_000
PROMISED = 1.1

CONFIG = """
workers: {workers}
listen: {{check: {{address: "unix:{folder}/check.sock"}}, admin: {{address: "unix:{folder}/admin.sock"}}}}
check: {{drainDelay: 0s}}
limits: {{perProcess: true}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders], secretFile: secret, algorithms: [HS256]}}
policies: {{files: [policies]}}
"""


@contextmanager
def serving(workers: int, message: bytes) -> Iterator[tuple[int, list[str]]]:
    """A server; gives its process and the address of each worker."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret").write_bytes(SECRET)
        (folder / "policies").mkdir()
        (folder / "policies" / "orders.yaml").write_text(POLICY)
        (folder / "extauthz.yaml").write_text(CONFIG.format(workers=workers, folder=folder))
        command = [sys.executable, "-m", "extauthz", "serve", "--config", str(folder / "extauthz.yaml")]
        addresses = [f"unix:{folder}/check{f'-{number}' if number else ''}.sock" for number in range(workers)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                for address in addresses:
                    _wait(address, message)
                yield process.pid, addresses
            finally:
                process.terminate()
                process.wait(20)


def _wait(address: str, message: bytes) -> None:
    for _ in range(100):
        if Path(address.removeprefix("unix:")).exists():
            try:
                asyncio.run(ask_once(address, message, timeout=5))
            except UpstreamError:
                continue
            return
        time.sleep(0.1)
    raise SystemExit(f"{address} did not answer")


def asked(addresses: list[str], load: Load, message: bytes) -> list[Measure]:
    """All of them at the same time."""
    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(lambda address: h2load(address, CHECK_METHOD, load, message=message), addresses))


def measured(workers: int, message: bytes) -> tuple[float, float]:
    """Microseconds of CPU of a Check at the same rate a worker, and Checks a second."""
    with serving(workers, message) as (pid, addresses):
        asked(addresses, Load(2_000), message)
        before = cpu_seconds(pid)
        seen = asked(addresses, Load(RATE * SECONDS, rate=RATE), message)
        cpu = (cpu_seconds(pid) - before) / sum(one.done for one in seen) * 1e6
        full = asked(addresses, Load(FULL // workers), message)
    if any(one.failed for one in (*seen, *full)):
        print(f"{sum(one.failed for one in (*seen, *full))} Checks failed")
    return cpu, sum(one.per_second for one in full)


def main() -> int:
    """Print the table; 1 if the promise is broken."""
    require()
    message = check(hs256(0, SECRET))
    rows = {workers: [measured(workers, message) for _ in range(ROUNDS)] for workers in (1, 2)}
    print(f"{'workers':<10}{f'CPU us at {RATE:,}/s':>20}{'times':>8}{'spread':>16}{'at most, 1/s':>14}{'times':>8}")
    alone = rows[1]
    for workers, found in rows.items():
        times = [one[0] / other[0] for one, other in zip(found, alone, strict=True)]
        faster = [one[1] / other[1] for one, other in zip(found, alone, strict=True)]
        cpu, often = median([one[0] for one in found]), median([one[1] for one in found])
        print(f"{workers:<10}{cpu:>20.1f}{median(times):>8.2f}{spread(times):>16}{often:>14,.0f}{median(faster):>8.2f}")
    ratio = median([one[0] / other[0] for one, other in zip(rows[2], alone, strict=True)])
    return int(not promised("CPU of a Check, two workers to one", ratio, PROMISED))


if __name__ == "__main__":
    sys.exit(main())
