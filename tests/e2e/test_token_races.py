"""64 at once on two replicas of a whole server: who refreshes one token, who revokes what others use, who rotates while others sign."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
import jwt
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.replicas import CLIENT, Replicas
from tests.canaries import pages_of, secret
from tests.journey import check_request
from tests.stores.redis_server import running as redis

pytestmark = pytest.mark.timeout(120)

MANY = 64
BOUND = 1.0
"""Seconds within which a revocation is in force everywhere; a busy machine gets as many more."""
KEYS = {"rotateEvery": "1h", "publishDelay": "1s", "refresh": "200ms", "clockSkew": "100ms"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
def replicas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("races")
    if request.param == "sqlite":
        with Replicas(folder, keys=KEYS) as started:
            yield started
            pages_of(started.all[0].admin)
    else:
        with redis(folder) as server, Replicas(folder, keys=KEYS, store=server.url) as started:
            yield started


class Clients:
    """Those of both replicas, in turns."""

    def __init__(self, replicas: Replicas, http: Any, checks: list[Any]) -> None:
        self._replicas = replicas
        self._http = http
        self._checks = checks

    async def post(self, number: int, path: str = "token", **form: str) -> tuple[int, dict[str, Any]]:
        """What a replica answers."""
        url = self._replicas.all[number % 2].desk.url
        proof = (CLIENT, self._replicas.secret)
        answer = await self._http.post(f"{url}/oauth2/{path}", data=form, auth=proof)
        told: dict[str, Any] = answer.json()
        for name in told.keys() & {"access_token", "refresh_token"}:
            secret(told[name])
        return answer.status_code, told

    async def new(self) -> dict[str, Any]:
        return (await self.post(0, grant_type="client_credentials"))[1]

    async def refresh(self, number: int, token: str) -> tuple[int, dict[str, Any]]:
        return await self.post(number, grant_type="refresh_token", refresh_token=token)

    async def codes(self, token: str) -> list[int]:
        """What the Checks of both answer."""
        message = check_request(headers={"authorization": f"Bearer {token}"})
        return [(await call(message, timeout=10)).status.code for call in self._checks]

    async def until_refused(self, tokens: set[str]) -> None:
        async with asyncio.timeout(2 * BOUND):
            for token in tokens:
                while await self.codes(token) != [16, 16]:  # noqa: ASYNC110 - it can't call back
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def clients(replicas: Replicas) -> AsyncIterator[Clients]:
    limits = httpx2.Limits(max_connections=2 * MANY)
    async with (
        httpx2.AsyncClient(timeout=20, limits=limits) as http,
        grpc.aio.insecure_channel(replicas.checks[0]) as one,
        grpc.aio.insecure_channel(replicas.checks[1]) as other,
    ):
        checks: list[Any] = [
            channel.unary_unary(CHECK_METHOD, response_deserializer=CheckResponse.FromString)
            for channel in (one, other)
        ]
        yield Clients(replicas, http, checks)


async def test_one_member_of_a_family_lives(replicas: Replicas) -> None:
    """All who refresh one token at the same time get the same next one, and it is good; whoever comes with an older one ends it
    for everybody (O23 to O25).
    """
    async with clients(replicas) as asking:
        first = await asking.new()
        told = await asyncio.gather(*(asking.refresh(number, first["refresh_token"]) for number in range(MANY)))
        assert {status for status, _ in told} == {200}
        [second] = {answer["refresh_token"] for _, answer in told}
        status, third = await asking.refresh(1, second)
        assert status == 200
        assert await asking.codes(third["access_token"]) == [0, 0]
        status, refused = await asking.refresh(0, first["refresh_token"])
        assert (status, refused["error"]) == (400, "invalid_grant")
        assert (await asking.refresh(1, third["refresh_token"]))[0] == 400
        given = {third["access_token"], first["access_token"], *(answer["access_token"] for _, answer in told)}
        await asking.until_refused(given)


async def test_what_is_revoked_while_it_is_used_ends(replicas: Replicas) -> None:
    """Of the refreshes that began before the answer to the revocation some may have been first, and none afterwards; all that
    anybody got is refused everywhere within the bound (O31).
    """
    async with clients(replicas) as asking:
        first = await asking.new()
        revoked = asyncio.Event()
        given = {first["access_token"]}

        async def use(number: int) -> None:
            late = revoked.is_set()
            status, told = await asking.refresh(number, first["refresh_token"])
            assert status == 400 if late else status in {200, 400}
            if status == 200:
                given.add(told["access_token"])

        async def revoke() -> None:
            status, _ = await asking.post(1, "revoke", token=first["refresh_token"])
            assert status == 200
            revoked.set()

        before = [asyncio.create_task(use(number)) for number in range(MANY // 2)]
        ending = asyncio.create_task(revoke())
        beside = [asyncio.create_task(use(number)) for number in range(MANY // 2)]
        await asyncio.gather(*before, ending, *beside)
        await asyncio.gather(*(use(number) for number in range(8)))
        await asking.until_refused(given)


async def test_keys_that_rotate_while_others_sign(replicas: Replicas) -> None:
    """By command, several at once, and every token that was given out meanwhile is good everywhere at once (K5, K7)."""
    config = replicas.folder / "extauthz-0.yaml"
    command = [sys.executable, "-m", "extauthz", "keys", "rotate", "--config", str(config)]
    async with clients(replicas) as asking:
        before = jwt.get_unverified_header((await asking.new())["access_token"])["kid"]
        rotating = [await asyncio.create_subprocess_exec(*command) for _ in "ab"]
        signers: set[str] = set()
        end = time.monotonic() + 30
        while signers <= {before}:
            assert time.monotonic() < end
            told = await asyncio.gather(
                *(asking.post(number, grant_type="client_credentials") for number in range(MANY))
            )
            assert {status for status, _ in told} == {200}
            tokens = [answer["access_token"] for _, answer in told]
            signers |= {jwt.get_unverified_header(token)["kid"] for token in tokens}
            codes = await asyncio.gather(*(asking.codes(token) for token in tokens))
            assert codes == [[0, 0]] * MANY
        assert 0 in [await process.wait() for process in rotating]
