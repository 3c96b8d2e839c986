"""Two whole servers on one store: sixty-four senders at once, and never more than the rate in sum."""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.conftest import PROJECT
from tests.journey import check_request, reason_of
from tests.stores.redis_server import RedisServer, running

pytestmark = [pytest.mark.timeout(60), pytest.mark.system("redis-server")]

RATE = 300
SENDERS = 64
POLICY = f"""
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {{name: shared}}
spec:
  authentication: {{optional: true}}
  rateLimits: {{whenStoreFails: deny}}
  rules:
  - {{name: anybody, role: anonymous, maxRequestsPerMinute: {RATE}}}
"""


@asynccontextmanager
async def replicas(folder: Path, redis: RedisServer, mode: str, count: int) -> AsyncIterator[list[str]]:
    """Servers that share a store; gives the addresses of their check listeners."""
    (folder / "policies").mkdir()
    (folder / "policies" / "shared.yaml").write_text(POLICY, "utf-8")
    addresses, servers = [], []
    for number in range(count):
        check, admin = free_addresses(0, 0)
        environment = {
            "EXTAUTHZ_LISTEN__CHECK__ADDRESS": check,
            "EXTAUTHZ_LISTEN__ADMIN__ADDRESS": admin,
            "EXTAUTHZ_CHECK__DRAINDELAY": "0s",
            "EXTAUTHZ_CHECK__DEADLINE": "2s",
            "EXTAUTHZ_STORE__URL": redis.url,
            "EXTAUTHZ_LIMITS__MODE": mode,
            "EXTAUTHZ_LIMITS__TIMEOUT": "1s",
            "PYTHONPATH": str(PROJECT),
        }
        server = Process(
            f"extauthz-{number}",
            [sys.executable, "-m", "extauthz", "serve"],
            log=folder / f"log-{number}",
            ready=[answers(f"http://{admin}/readyz")],
            environment=environment,
            directory=folder,
        )
        await asyncio.to_thread(server.start)
        addresses.append(check)
        servers.append(server)
    try:
        for server in servers:
            await asyncio.to_thread(server.wait_ready)
        yield addresses
    finally:
        for server in servers:
            await asyncio.to_thread(server.stop)


async def ask(addresses: list[str], times: int) -> Counter[str]:
    """Send this many Checks by each of the senders, spread over the servers, and count the reasons."""
    seen: Counter[str] = Counter()
    message = check_request()
    channels = [grpc.aio.insecure_channel(address) for address in addresses]
    calls: list[grpc.aio.UnaryUnaryMultiCallable[bytes, CheckResponse]] = [
        channel.unary_unary(CHECK_METHOD, response_deserializer=CheckResponse.FromString) for channel in channels
    ]

    async def send(number: int) -> None:
        for _ in range(times):
            answer = await calls[number % len(calls)](message, timeout=10)
            seen[reason_of(answer)] += 1

    try:
        await asyncio.gather(*map(send, range(SENDERS)))
    finally:
        for channel in channels:
            await channel.close()
    return seen


@pytest.mark.parametrize("count", [1, 2])
async def test_in_exact_mode_the_rate_is_allowed_and_no_more(tmp_path: Path, count: int) -> None:
    """Whoever is asked."""
    with running(tmp_path) as redis:
        async with replicas(tmp_path, redis, "exact", count) as addresses:
            seen = await ask(addresses, 10)
    assert seen == {"allowed": RATE, "rate-limited": SENDERS * 10 - RATE}


async def test_in_leased_mode_never_more_is_allowed(tmp_path: Path) -> None:
    """And most of it: what a replica leaves unused of its last lease is lost for some seconds."""
    with running(tmp_path) as redis:
        async with replicas(tmp_path, redis, "leased", 2) as addresses:
            seen = await ask(addresses, 10)
    assert seen["allowed"] <= RATE
    assert seen["allowed"] >= RATE * 0.8, seen
    assert seen["allowed"] + seen["rate-limited"] == SENDERS * 10


async def test_a_store_that_dies_denies_at_once_and_comes_back(tmp_path: Path) -> None:
    """No request waits beyond its limit, nothing is allowed meanwhile, and nobody has to restart anything."""
    with running(tmp_path) as redis:
        async with replicas(tmp_path, redis, "exact", 1) as addresses:
            assert set(await ask(addresses, 1)) == {"allowed"}
            redis.stop()
            begin = time.monotonic()
            seen = await ask(addresses, 5)
            assert set(seen) == {"store-unavailable"}
            assert time.monotonic() - begin < 5
            redis.start()
            for _ in range(100):
                if "allowed" in await ask(addresses, 1):
                    break
                await asyncio.sleep(0.1)
            else:
                pytest.fail("the store came back, and nobody noticed")


async def test_a_store_that_hangs_costs_its_timeout_once(tmp_path: Path) -> None:
    """Then it is known to be down."""
    with running(tmp_path) as redis:
        async with replicas(tmp_path, redis, "exact", 1) as addresses:
            await ask(addresses, 1)
            redis.send(signal.SIGSTOP)
            first = await ask(addresses, 1)
            begin = time.monotonic()
            later = await ask(addresses, 3)
            took = time.monotonic() - begin
            redis.send(signal.SIGCONT)
    assert set(first) <= {"store-unavailable", "deadline-exceeded"}
    assert set(later) == {"store-unavailable"}
    assert took < 3
