"""Signing keys change every two seconds under load, through a real Envoy, while replicas are killed and stopped (K7, K12).

``TOKEN_SOAK=60`` does so for 60 seconds, as ``make soak`` does; a few seconds are enough for every day.
"""

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.processes import Process
from mesh.proxy import EnvoyProcess
from mesh.replicas import Replicas
from tests.e2e.token_load import TokenLoad

SECONDS = float(os.environ.get("TOKEN_SOAK", "10"))
EVERY = 2.0
"""Seconds from one key to the next."""
KEYS = {"rotateEvery": "2s", "publishDelay": "800ms", "refresh": "100ms", "clockSkew": "200ms"}
pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120 + 2 * SECONDS)]

StartEnvoy = Callable[..., AbstractAsyncContextManager[EnvoyProcess]]


async def ended(process: Process, number: signal.Signals) -> int:
    """End a process by a signal; gives its exit code."""
    process.signal(number)
    async with asyncio.timeout(20):
        while process.returncode is None:  # noqa: ASYNC110 - it can't call back
            await asyncio.sleep(0.02)
    return process.returncode


async def seen_by(envoy: EnvoyProcess) -> None:
    """Wait until Envoy sends Checks to both, as whoever rolls replicas out does before the next one goes."""
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(envoy.stats, "cluster.authz.membership_healthy")) != {  # noqa: ASYNC110 - it can't call back
            "cluster.authz.membership_healthy": 2
        }:
            await asyncio.sleep(0.05)


async def test_keys_change_while_replicas_come_and_go(tmp_path: Path, start_envoy: StartEnvoy) -> None:
    """No valid token is denied, no expired or revoked one allowed, and only a process that was killed leaves a request without
    an answer.
    """
    replicas = Replicas(tmp_path, lifetime="4s", keys=KEYS)
    options = {"authz_health": timedelta(milliseconds=200), "authz_timeout": timedelta(seconds=5)}
    await asyncio.to_thread(replicas.start)
    try:
        async with start_envoy(*replicas.checks, **options) as envoy:
            load = TokenLoad(replicas, [envoy.url])
            begun = time.time()
            async with load.running():
                first, second = (replica.process for replica in replicas.all)
                await asyncio.sleep(SECONDS * 0.1)
                killed = time.time()
                assert await ended(second, signal.SIGKILL) == -signal.SIGKILL
                await asyncio.to_thread(lambda: second.start().wait_ready())
                await seen_by(envoy)
                back = time.time()
                await asyncio.sleep(SECONDS * 0.1)
                assert await ended(first, signal.SIGTERM) == 0
                await asyncio.to_thread(lambda: first.start().wait_ready())
                await asyncio.sleep(max(begun + SECONDS - time.time(), 1.0))
            lasted = time.time() - begun
    finally:
        await asyncio.to_thread(replicas.stop)
    sys.stdout.write(f"{lasted:.0f} s, {len(load.signers)} keys: {dict(sorted(load.seen.items()))}\n")
    assert load.faults == []
    assert [moment - killed for moment in load.unanswered if not killed <= moment <= back + 1.0] == []
    assert len(load.unanswered) <= 0.05 * load.seen["good 200"]
    assert len(load.signers) >= math.floor(lasted / EVERY) - 2
    assert load.seen["good 200"] > 10 * SECONDS
    assert load.seen["expired 401"]
    assert load.seen["revoked 401"]
    assert load.seen["/oauth2/token 200"] > SECONDS
