"""Rates from a policy file to what clients see: a whole ``extauthz serve``, asked over gRPC and behind a real Envoy."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx2
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.conftest import PROJECT
from tests.e2e.conftest import StartEnvoy
from tests.identity.issuer import ED_KEY, jwk, jwks, mint
from tests.journey import check_request, reason_of

pytestmark = pytest.mark.timeout(60)

SENDERS = 64
CONFIG = """
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{deadline: 5s, drainDelay: 0s}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders], jwksFile: jwks.json, algorithms: [EdDSA]}}
{more}
"""


def policy(*rules: str) -> str:
    lines = "".join(f"  - {{{rule}}}\n" for rule in rules)
    return f"""
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {{name: rates}}
spec:
  authentication: {{optional: true}}
  rules:
{lines}"""


def bearer(subject: str, *roles: str) -> dict[str, str]:
    """The header of a caller with a good token."""
    now = time.time()
    claims = {"sub": subject, "roles": roles, "iat": now - 10, "exp": now + 600}
    return {"authorization": "Bearer " + mint(claims, key=ED_KEY, header={"alg": "EdDSA"})}


@dataclass
class Serving:
    """A server at work."""

    folder: Path
    check: str
    admin: str

    def write(self, *rules: str) -> None:
        """Replace its policy, as an editor does."""
        file = self.folder / "policies" / "rates.yaml"
        new = file.with_suffix(".new")
        new.write_text(policy(*rules), "utf-8")
        new.replace(file)

    async def change(self, *rules: str) -> None:
        """Replace its policy, and wait until that is in force."""
        before = await self.series("extauthz_policy_generation")
        self.write(*rules)
        async with asyncio.timeout(10):
            while await self.series("extauthz_policy_generation") == before:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.02)

    async def series(self, name: str) -> float:
        """The value of a series of its metrics."""
        async with httpx2.AsyncClient(base_url=f"http://{self.admin}") as client:
            page = (await client.get("/metrics")).text
        return next(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name + " "))

    async def ask(self, headers: dict[str, str] | None = None, *, times: int, senders: int = 1) -> Counter[str]:
        """Send this many Checks by each of some senders at once, and count the reasons."""
        seen: Counter[str] = Counter()
        message = check_request(headers=headers)
        async with grpc.aio.insecure_channel(self.check) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, CheckResponse] = channel.unary_unary(
                CHECK_METHOD, response_deserializer=CheckResponse.FromString
            )

            async def send() -> None:
                for _ in range(times):
                    seen[reason_of(await call(message, timeout=10))] += 1

            await asyncio.gather(*(send() for _ in range(senders)))
        return seen


@asynccontextmanager
async def serving(folder: Path, *rules: str, more: str = "") -> AsyncIterator[Serving]:
    """A server with these rules."""
    check, admin = free_addresses(0, 0)
    (folder / "extauthz.yaml").write_text(CONFIG.format(check=check, admin=admin, more=more), "utf-8")
    (folder / "jwks.json").write_text(json.dumps(jwks(jwk(ED_KEY, "k1"))), "utf-8")
    (folder / "policies").mkdir()
    server = Serving(folder, check, admin)
    server.write(*rules)
    process = Process(
        "extauthz",
        [sys.executable, "-m", "extauthz", "serve"],
        log=folder / "log",
        ready=[answers(f"http://{admin}/readyz")],
        environment={"PYTHONPATH": str(PROJECT)},
        directory=folder,
    )
    await asyncio.to_thread(process.start)
    try:
        await asyncio.to_thread(process.wait_ready)
        yield server
    finally:
        await asyncio.to_thread(process.stop)


async def test_of_many_senders_at_once_exactly_the_rate_is_allowed(tmp_path: Path) -> None:
    async with serving(tmp_path, "role: user, maxRequestsPerMinute: 200") as server:
        seen = await server.ask(bearer("alice", "user"), times=5, senders=SENDERS)
    assert seen == {"allowed": 200, "rate-limited": SENDERS * 5 - 200}


async def test_a_burst_is_allowed_at_once_and_comes_back(tmp_path: Path) -> None:
    """A second is counted as the slot that goes on and the one before, so it is back within two."""
    async with serving(tmp_path, "role: user, maxRequestsPerMinute: 1000, burst: 7") as server:
        alice = bearer("alice", "user")
        begin = time.monotonic()
        first = await server.ask(alice, times=1, senders=SENDERS)
        took = time.monotonic() - begin
        await asyncio.sleep(2.1)
        second = await server.ask(alice, times=1, senders=SENDERS)
    assert 7 <= first["allowed"] <= 7 * (1 + int(took))
    assert second["allowed"] >= 7


async def test_a_raised_rate_gives_the_difference_and_a_lowered_one_nothing(tmp_path: Path) -> None:
    """What was counted outlives a reload."""
    rule = "name: r, role: user, maxRequestsPerMinute: "
    alice = bearer("alice", "user")
    async with serving(tmp_path, rule + "10") as server:
        first = await server.ask(alice, times=15)
        await server.change(rule + "25")
        raised = await server.ask(alice, times=30)
        await server.change(rule + "20")
        lowered = await server.ask(alice, times=5)
        other = await server.ask(bearer("bob", "user"), times=25)
    assert first["allowed"] == 10
    assert raised["allowed"] == 15
    assert lowered["allowed"] == 0
    assert other["allowed"] == 20


async def test_rules_that_move_keep_their_count_if_they_have_a_name(tmp_path: Path) -> None:
    alice = bearer("alice", "user")
    async with serving(tmp_path, "name: r, role: user, maxRequestsPerMinute: 10") as server:
        await server.ask(alice, times=10)
        await server.change("role: guest", "name: r, role: user, maxRequestsPerMinute: 10")
        seen = await server.ask(alice, times=3)
    assert seen == {"rate-limited": 3}


async def test_a_new_role_counts_at_once_and_resets_nobody(tmp_path: Path) -> None:
    """Each rule counts by itself: with the old role the old count is there again."""
    rules = ("role: admin, maxRequestsPerMinute: 30", "role: user, maxRequestsPerMinute: 10")
    async with serving(tmp_path, *rules) as server:
        as_user = await server.ask(bearer("alice", "user"), times=12)
        bob = await server.ask(bearer("bob", "user"), times=8)
        as_admin = await server.ask(bearer("alice", "user", "admin"), times=35)
        again = await server.ask(bearer("alice", "user"), times=2)
        bob += await server.ask(bearer("bob", "user"), times=8)
    assert as_user["allowed"] == 10
    assert as_admin["allowed"] == 30
    assert again == {"rate-limited": 2}
    assert bob["allowed"] == 10


async def test_new_tokens_of_a_caller_share_one_count(tmp_path: Path) -> None:
    async with serving(tmp_path, "role: user, maxRequestsPerMinute: 5") as server:
        allowed = 0
        for number in range(10):
            allowed += (await server.ask(bearer("alice", "user", f"r{number}"), times=1))["allowed"]
    assert allowed == 5


async def test_a_rate_in_shadow_denies_nobody_and_is_counted(tmp_path: Path) -> None:
    rule = "name: r, role: user, maxRequestsPerMinute: 5, rateShadow: true"
    async with serving(tmp_path, rule) as server:
        seen = await server.ask(bearer("alice", "user"), times=12)
        beyond = await server.series('extauthz_limit_total{outcome="shadow",policy="rates",rule="r"}')
    assert seen == {"allowed": 12}
    assert beyond == 7


async def test_who_guesses_is_slowed_and_the_neighbour_with_a_good_token_is_not(tmp_path: Path) -> None:
    """Both come from one address."""
    async with serving(tmp_path, "role: user", more="limits: {deniedPerAddress: 10}") as server:
        guesses = await server.ask({"authorization": "Bearer a.b.c"}, times=1, senders=SENDERS)
        neighbour = await server.ask(bearer("alice", "user"), times=20)
    assert guesses["rate-limited"] == SENDERS - 10
    assert neighbour == {"allowed": 20}


@pytest.mark.envoy
async def test_a_client_of_envoy_is_told_to_wait(tmp_path: Path, start_envoy: StartEnvoy) -> None:
    async with (
        serving(tmp_path, "name: r, role: user, maxRequestsPerMinute: 2, burst: 2") as server,
        start_envoy(server.check) as envoy,
        httpx2.AsyncClient(base_url=envoy.url, headers=bearer("alice", "user")) as client,
    ):
        answered = [await client.get("/orders") for _ in range(4)]
    assert [answer.status_code for answer in answered] == [200, 200, 429, 429]
    assert "ratelimit" not in answered[0].headers
    told = answered[2].headers
    assert 1 <= int(told["retry-after"]) <= 61
    assert told["ratelimit-policy"] == '"r";q=2;w=60, "r burst";q=2;w=1'
    assert told["ratelimit"].startswith('"r";r=0;t=')


@pytest.mark.envoy
async def test_an_allowed_client_of_envoy_is_told_what_is_left_if_asked_for(
    tmp_path: Path, start_envoy: StartEnvoy
) -> None:
    async with (
        serving(
            tmp_path, "name: r, role: user, maxRequestsPerMinute: 5", more="responses: {rateLimits: true}"
        ) as server,
        start_envoy(server.check) as envoy,
        httpx2.AsyncClient(base_url=envoy.url, headers=bearer("alice", "user")) as client,
    ):
        answered = [await client.get("/orders") for _ in range(2)]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answered] == ["r=4", "r=3"]
    assert answered[0].headers["ratelimit-policy"] == '"r";q=5;w=60'


@pytest.mark.envoy
async def test_a_grpc_client_of_envoy_is_told_resource_exhausted(tmp_path: Path, start_envoy: StartEnvoy) -> None:
    async with (
        serving(tmp_path, "role: user, maxRequestsPerMinute: 1") as server,
        start_envoy(server.check) as envoy,
        grpc.aio.insecure_channel(envoy.options.listen) as channel,
    ):
        say = channel.unary_unary(
            "/demo.echo.v1.Echo/Say",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        metadata = tuple(bearer("alice", "user").items())
        await say(StringValue(value="hello"), metadata=metadata, timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(StringValue(value="hello"), metadata=metadata, timeout=5)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
