"""A store that fails over: the sentinels name another one, and nobody has to restart anything."""

import asyncio
import time
from pathlib import Path

import pytest

from extauthz.limits import SharedLimiter
from extauthz.model import Charge, Deny, Permit, Rate
from extauthz.stores import RedisCounters, StoreSettings
from tests.stores.redis_server import RedisServer, running

pytestmark = [pytest.mark.system("redis-server"), pytest.mark.timeout(60)]

CHARGE = Charge(bytes(16), Rate(5), "policy", "rule")


def offset(server: RedisServer, name: str) -> int:
    """How far a server has written, or a copy has followed."""
    told = server.command("INFO", "replication")
    return int(told.partition(f"{name}:")[2].split()[0])


async def test_the_copy_that_takes_over_goes_on_with_what_was_counted(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("main", "copy", "sentinel")]
    for folder in folders:
        folder.mkdir()
    with (
        running(folders[0], "repl-diskless-sync-delay 0") as main,
        running(folders[1], f"replicaof 127.0.0.1 {main.port}") as copy,
        running(
            folders[2],
            f"sentinel monitor main 127.0.0.1 {main.port} 1",
            # Not sooner: a busy machine that stops for a moment is no failure, and a failover that nobody wants loses counts.
            "sentinel down-after-milliseconds main 1500",
            "sentinel failover-timeout main 2000",
            sentinel=True,
        ) as sentinel,
    ):
        end = time.monotonic() + 20
        while f"port={copy.port}" not in main.command("INFO", "replication") or "num-slaves" not in (
            told := sentinel.command("SENTINEL", "MASTER", "main")
        ):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        while told.split("num-slaves")[1].split()[0] != "1":
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
            told = sentinel.command("SENTINEL", "MASTER", "main")
        counters = RedisCounters(StoreSettings(f"redis+sentinel://127.0.0.1:{sentinel.port}/main", timeout=0.5))
        limiter = SharedLimiter(counters, clock=time.monotonic, timeout=0.5)
        background = asyncio.create_task(limiter.run())
        try:
            async with asyncio.timeout(30):
                while limiter.counts().replicas == 0:  # noqa: ASYNC110 - it is in another process
                    await asyncio.sleep(0.02)
                for _ in range(3):
                    said = limiter.take(CHARGE)
                    assert not isinstance(said, Permit | Deny)
                    assert isinstance(await said.settle(), Permit)
                # WAIT would speak of what its own connection has written, which is nothing.
                while offset(copy, "slave_repl_offset") < offset(main, "master_repl_offset"):  # noqa: ASYNC110 - it is in another process
                    await asyncio.sleep(0.02)
                main.stop()
                granted: list[bool] = []
                while len(granted) < 4:
                    said = limiter.take(CHARGE)
                    answer = said if isinstance(said, Permit | Deny) else await said.settle()
                    if isinstance(answer, Permit):
                        granted.append(answer.granted)
                    await asyncio.sleep(0.02)
        finally:
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
            await counters.close()
    assert granted == [True, True, False, False]
