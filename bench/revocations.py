"""How long a token lives that was revoked: from the answer of one replica to the first denial by the other, through its Envoy.

    python -m bench.revocations         a quarter of a minute; needs redis-server for the second row
    python -m bench.revocations 50      that many times each

Two servers as people run them share a store and their keys; the token has been used at both, so both remember it. The
second replica is asked again and again, and the time is that at which a request was sent that was denied. The promise is one second.
"""

import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.load import progress
from bench.report import promised
from bench.tokens_store import redis
from mesh.address import free_addresses
from mesh.options import EnvoyOptions
from mesh.processes import Process, accepts
from mesh.proxy import PROJECT, EnvoyProcess
from mesh.replicas import CLIENT, Replicas, used

TIMES = 15
PAUSE = 0.005
APART = 0.3
"""Seconds between two, at most: replicas look four times a second, and nobody should be in step with that."""
PROMISED_MS = 1000.0


@contextlib.contextmanager
def behind_envoy(folder: Path, store: str) -> Iterator[tuple[Replicas, str]]:
    """Two replicas, and the Envoy of the second one."""
    listen, admin, upstream, unused = free_addresses(0, 0, 0, 0)
    words = [sys.executable, "-m", "mesh.upstreams", "--http", upstream, "--grpc", unused]
    echo = Process("upstreams", words, log=folder / "upstreams.log", ready=[accepts(upstream)], directory=PROJECT)
    with Replicas(folder, store=store) as replicas, echo:
        options = EnvoyOptions(
            listen=listen,
            admin=admin,
            authz=replicas.checks[1:],
            upstream=upstream,
            access_log=str(folder / "access.log"),
        )
        with EnvoyProcess(options, folder) as envoy:
            yield replicas, envoy.url


def measured(replicas: Replicas, url: str, times: int) -> list[float]:
    """Milliseconds of each revocation, shortest first."""
    desk, found = replicas.all[0].desk, []
    for number in range(times):
        progress(f"revocation {number} of {times}")
        time.sleep(random.uniform(0, APART))  # noqa: S311 - no secret
        token = desk.own(CLIENT).access_token
        if [used(url, token), used(url, token)] != [200, 200]:
            raise SystemExit("a good token was denied")
        desk.revoke(CLIENT, token)
        revoked = sent = time.perf_counter()
        while used(url, token) != 401:  # noqa: PLR2004 - denied
            time.sleep(PAUSE)
            sent = time.perf_counter()
        found.append((sent - revoked) * 1e3)
    progress()
    return sorted(found)


def main() -> int:
    """Print the table; 1 if the promise is broken."""
    kept, count = True, int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    print(f"{f'from a revocation to a denial elsewhere, {count} times':<56}{'p50':>6}{'p99':>6}{'most, ms':>10}")
    for name in ("SQLite", *(["Redis"] if shutil.which("redis-server") else [])):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            store = "sqlite:state.db"
            if name == "Redis":
                store = stack.enter_context(redis(folder, durable=False)).url
            replicas, url = stack.enter_context(behind_envoy(Path(folder), store))
            times = measured(replicas, url, count)
        p50, p99 = (times[int(len(times) * part)] for part in (0.5, 0.99))
        print(f"{name:<56}{p50:>6.0f}{p99:>6.0f}{times[-1]:>10.0f}")
        kept &= promised(f"from a revocation to a denial elsewhere, {name}, p99", p99, PROMISED_MS, unit="ms")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
