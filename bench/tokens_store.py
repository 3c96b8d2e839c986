"""What the token service's records cost in each store: to rotate, to revoke, to ask what is new, and to keep 100,000.

    python -m bench.tokens_store        one to three minutes

Each row is measured in a process of its own. *One* is one call after the other, *64* is 64 at a time, in calls a second and
microseconds of CPU of the process; what a Redis uses comes on top, in its column. *Poll* is a question for what was revoked
since, with nothing new among 100,000 revocations, as each replica asks once a second; *all* is the first question of a
replica that has just started. *Kept* is the memory of the process or of the Redis, or the size of the file, for 100,000
families and as many revocations. A Redis that waits for its disk keeps 5,000 of each: their number changes nothing there.

The SQLite file is in a folder of the working directory's disk, and a Redis with ``appendfsync always`` writes there too: a
call one after the other is one wait for that disk. There is one promise: a poll with nothing new costs at most 1 ms of CPU.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.report import promised
from extauthz.stores import MemoryTokenStore, RedisTokenStore, SqliteTokenStore, StoreSettings
from extauthz.tokens.records import Family, Outcome, Revocation, Succession

KINDS = {
    "memory": "memory",
    "sqlite": "SQLite",
    "redis": "Redis, memory alone",
    "durable": "Redis, appendfsync always",
}
KEPT = 100_000
FEWER = 5_000
CONNECTIONS = 16
"""As ``extauthz.app`` has it."""
CALLS = 2_000
AT_A_TIME = 64
POLLS = 200
PATIENCE = 60.0
PROMISED_POLL_US = 1000.0
NOW = 1_800_000_000.0
LATER = NOW + 86400

Store = MemoryTokenStore | SqliteTokenStore | RedisTokenStore


@dataclass
class Server:
    """A Redis of our own."""

    url: str
    process: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used (Linux)."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident(self) -> float:
        """Megabytes of memory that it holds (Linux)."""
        return resident(self.process)


def resident(process: int | str = "self") -> float:
    """Megabytes of memory that a process holds (Linux)."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def redis(folder: str, *, durable: bool) -> Iterator[Server]:
    """A Redis on a unix socket."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no redis-server")
    path = Path(folder) / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
    options += ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                if path.exists():
                    break
                time.sleep(0.02)
            yield Server(f"redis+unix://{path}", process.pid)
        finally:
            process.kill()


def family(number: int) -> Family:
    """A family of a client that has many, of a subject that has one."""
    grant = json.dumps({"scope": "orders", "aud": ["https://orders.example.com"], "roles": ["user"], "auth_time": NOW})
    return Family(
        f"{number:032x}", os.urandom(32), f"client-{number % 10}", f"user-{number}", grant, NOW, LATER, LATER, token(0)
    )


def token(number: int) -> bytes:
    """The digest of a refresh token."""
    return number.to_bytes(32, "big")


async def rated(call: Callable[[int], Awaitable[object]], at_a_time: int, server: Server | None) -> dict[str, float]:
    """Calls a second, and microseconds of CPU of one, here and there."""
    numbers = iter(range(CALLS))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    there = server.cpu if server else 0.0
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(at_a_time)))
    here = time.process_time() - cpu
    took = time.perf_counter() - began
    spent = (server.cpu if server else 0.0) - there
    return {"1/s": CALLS / took, "us": here / CALLS * 1e6, "there": spent / CALLS * 1e6}


async def measured(
    store: Store, server: Server | None, size: Callable[[], float], count: int
) -> dict[str, dict[str, float]]:
    """All figures of a store that keeps so many of each."""
    found: dict[str, dict[str, float]] = {"kept": {"empty": size()}}
    for first in range(0, count, 500):
        await asyncio.gather(*(store.begin(family(number)) for number in range(first, first + 500)))
    found["kept"]["families"] = size()
    for first in range(0, count, 1000):
        await store.revoke([Revocation("token", f"{n:032x}", NOW, LATER) for n in range(first, first + 1000)])
    found["kept"]["revocations"] = size()

    for name, at_a_time in (("one", 1), ("many", AT_A_TIME)):
        base = 0 if at_a_time == 1 else CALLS

        async def rotate(number: int, base: int = base) -> None:
            succession = Succession(token(0), token(1), bytes(200), now=NOW, grace=10, idle_until=LATER)
            said = await store.rotate(f"{base + number:032x}", succession)
            if said.outcome is not Outcome.ROTATED:
                raise SystemExit(f"not rotated: {said}")

        async def revoke(number: int, base: int = base) -> None:
            await store.revoke([Revocation("token", f"new-{base + number}", NOW, LATER)])

        found[f"rotate {name}"] = await rated(rotate, at_a_time, server)
        found[f"revoke {name}"] = await rated(revoke, at_a_time, server)

    there, began, cpu = server.cpu if server else 0.0, time.perf_counter(), time.process_time()
    page = await store.revocations()
    took, here = time.perf_counter() - began, time.process_time() - cpu
    found["all"] = {"ms": took * 1e3, "cpu ms": here * 1e3, "there": ((server.cpu if server else 0.0) - there) * 1e3}
    if len(page.revocations) < count:
        raise SystemExit(f"{len(page.revocations)} revocations")
    cpu = time.process_time()
    for _ in range(POLLS):
        await store.revocations(page.cursor, page.epoch)
    found["poll"] = {"us": (time.process_time() - cpu) / POLLS * 1e6}
    return found


async def kept_by(
    store: Store, server: Server | None, size: Callable[[], float], count: int = KEPT
) -> dict[str, dict[str, float]]:
    """The figures of a store that is closed afterwards."""
    try:
        return await measured(store, server, size, count)
    finally:
        await store.close()


def figures(kind: str) -> dict[str, dict[str, float]]:
    """One row, in a fresh process."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        if kind == "memory":
            return asyncio.run(kept_by(MemoryTokenStore(), None, resident))
        if kind == "sqlite":
            file = Path(folder) / "state.db"
            store = SqliteTokenStore(str(file), timeout=PATIENCE)
            return asyncio.run(kept_by(store, None, lambda: file.stat().st_size / 1e6 if file.exists() else 0.0))
        durable = kind == "durable"
        with redis(folder, durable=durable) as server:
            shared = RedisTokenStore(StoreSettings(server.url, timeout=PATIENCE, connections=CONNECTIONS))
            return asyncio.run(kept_by(shared, server, lambda: server.resident, FEWER if durable else KEPT))


def main() -> int:
    """Print the tables; 1 if a promise is broken."""
    kinds = [kind for kind in KINDS if kind in {"memory", "sqlite"} or shutil.which("redis-server")]
    rows = {}
    for kind in kinds:
        run = subprocess.run([sys.executable, "-m", "bench.tokens_store", kind], stdout=subprocess.PIPE, check=True)
        rows[kind] = json.loads(run.stdout)
    print(f"{'calls a second, us of CPU (and there)':<40}{'one at a time':>26}{f'{AT_A_TIME} at a time':>26}")
    for call in ("rotate", "revoke"):
        for kind, row in rows.items():
            parts = [row[f"{call} one"], row[f"{call} many"]]
            there = [f"({one['there']:.0f})" for one in parts]
            text = "".join(
                f"{one['1/s']:>12,.0f}{one['us']:>7.0f}{more:>7}" for one, more in zip(parts, there, strict=True)
            )
            print(f"{call + ', ' + KINDS[kind]:<40}{text}")
    print(f"\n{'revocations, 100,000 and some':<40}{'all, ms':>9}{'CPU':>7}{'there':>7}{'poll, CPU us':>14}")
    kept = True
    rows.pop("durable", None)
    for kind, row in rows.items():
        whole = row["all"]
        kept &= promised(
            f"a poll of 100,000 revocations, {KINDS[kind]}", row["poll"]["us"], PROMISED_POLL_US, unit="us"
        )
        print(
            f"{KINDS[kind]:<40}{whole['ms']:>9.0f}{whole['cpu ms']:>7.0f}{whole['there']:>7.0f}{row['poll']['us']:>14.0f}"
        )
    print(f"\n{'kept, 100,000 of each, MB':<40}{'families':>10}{'bytes':>7}{'revocations':>13}{'bytes':>7}")
    for kind, row in rows.items():
        size = row["kept"]
        grown = [size["families"] - size["empty"], size["revocations"] - size["families"]]
        print(f"{KINDS[kind]:<40}{grown[0]:>10.0f}{grown[0] * 10:>7.0f}{grown[1]:>13.0f}{grown[1] * 10:>7.0f}")
    return int(not kept)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(figures(sys.argv[1])))
    else:
        sys.exit(main())
