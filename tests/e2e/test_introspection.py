"""Opaque tokens from a configuration file to an answer: a whole ``extauthz serve``, and an issuer over HTTP."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx2
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.conftest import PROJECT
from tests.identity.endpoint import Endpoint, answer, http, serving
from tests.journey import assert_denies, check_request, reason_of

pytestmark = pytest.mark.timeout(60)

CONFIG = """
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{deadline: 5s, drainDelay: 0s}}
providers:
- name: opaque
  introspection:
    endpoint: {endpoint}
    issuer: https://login.example.com/
    audiences: [orders]
    clientId: me
    clientSecretFile: secret
    timeout: 5s
  roles: {{claims: [roles], map: {{staff: user}}}}
  fetch: {{allowPrivateAddresses: true, allowHttp: true}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec:
  rules: [{role: user}]
  response: {headers: {x-auth-subject: identity.subject, x-auth-client: claims.client_id}}
"""


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with serving(Endpoint()) as running:
        yield running


def write(folder: Path, endpoint: Endpoint) -> tuple[str, str]:
    """The files of a server; its addresses."""
    check, admin = free_addresses(0, 0)
    (folder / "extauthz.yaml").write_text(CONFIG.format(check=check, admin=admin, endpoint=endpoint.url))
    (folder / "secret").write_text("s3cret\n")
    (folder / "policies").mkdir()
    (folder / "policies" / "users.yaml").write_text(POLICY)
    return check, admin


async def ask(address: str, token: str) -> CheckResponse:
    """One Check, as a proxy sends it."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, CheckResponse] = channel.unary_unary(
            CHECK_METHOD, response_deserializer=CheckResponse.FromString
        )
        return await call(check_request(headers={"authorization": f"Bearer {token}"}), timeout=10)


async def test_opaque_tokens_from_configuration_to_answer(endpoint: Endpoint, tmp_path: Path) -> None:
    """T61, T63: the issuer is asked once for each token; its answer gives subject, roles and headers; faults are told."""
    endpoint.answers["good"] = answer(
        iss="https://login.example.com/", roles=["staff"], client_id="web", exp=None, token_type="Bearer"
    )
    endpoint.answers["broken"] = http(401, b"")
    check, admin = write(tmp_path, endpoint)
    command = [sys.executable, "-m", "extauthz", "serve"]
    ready = [answers(f"http://{admin}/readyz")]
    environment = {"PYTHONPATH": str(PROJECT)}
    server = Process(
        "extauthz", command, log=tmp_path / "log", ready=ready, environment=environment, directory=tmp_path
    )
    await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(server.wait_ready)
        for _ in range(3):
            response = await ask(check, "good")
            assert response.status.code == 0
            headers = {option.header.key: option.header.value for option in response.ok_response.headers}
            assert (headers["x-auth-subject"], headers["x-auth-client"]) == ("alice", "web")
        assert reason_of(await ask(check, "unknown")) == "token-inactive"
        assert endpoint.tokens() == ["good", "unknown"]
        response = await ask(check, "broken")
        assert_denies(response)
        assert reason_of(response) == "store-unavailable"
        async with httpx2.AsyncClient(base_url=f"http://{admin}") as client:
            told = "[-] provider opaque: the endpoint answered 401: it does not accept our client credentials"
            async with asyncio.timeout(10):
                while told not in (await client.get("/readyz?verbose")).text:  # noqa: ASYNC110 - nothing here tells us
                    await asyncio.sleep(0.1)
            assert 'extauthz_provider_usable{provider="opaque"} 1.0' in (await client.get("/metrics")).text
    finally:
        await asyncio.to_thread(server.stop)
    log = (tmp_path / "log").read_text()
    assert "introspection.failed" in log
    for secret in ("s3cret", "good", "broken"):
        assert secret not in log


def test_a_secret_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    """Exit code 2, and the text names the provider and the file."""
    write(tmp_path, Endpoint(port=1))
    (tmp_path / "secret").unlink()
    run = subprocess.run(
        [sys.executable, "-m", "extauthz", "serve"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2
    assert "provider 'opaque': secret: No such file or directory" in run.stderr
