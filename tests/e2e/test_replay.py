"""A running server records what it is asked, and its log is put before other policies."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
import jwt

from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.conftest import PROJECT
from tests.journey import check_request

SECRET = "0123456789abcdef0123456789abcdef"
CONFIGURATION = """
providers:
- name: corporate
  jwt: {issuer: "https://login.example.com/", audiences: [orders], secretFile: secret}
telemetry: {decisions: {sink: ./decisions.log, capture: true}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - {name: read, role: user, to: [{paths: ["/orders/**"]}], when: 'request.headers["x-tenant"] == claims.tenant'}
---
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: tomorrow}
spec:
  mode: Shadow
  rules:
  - {role: admin}
"""


async def ask(address: str, token: str) -> None:
    """Three requests, of which two are allowed."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK_METHOD)
        headers = {"authorization": f"Bearer {token}", "x-tenant": "acme"}
        for path in ("/orders/1", "/orders/1/items/2?page=1", "/other"):
            await call(check_request(path=path, headers=headers), timeout=10)


async def test_what_a_server_recorded_can_be_replayed(tmp_path: Path) -> None:
    """Shadow verdicts are in log and metrics, the token in neither, and narrower policies deny what was allowed."""
    for folder in ("policies", "narrow"):
        (tmp_path / folder).mkdir()
    (tmp_path / "extauthz.yaml").write_text(CONFIGURATION)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "policies" / "orders.yaml").write_text(POLICY)
    (tmp_path / "narrow" / "orders.yaml").write_text(POLICY.replace("/orders/**", "/orders/{id}"))
    claims = {"iss": "https://login.example.com/", "aud": "orders", "sub": "alice", "exp": int(time.time()) + 600}
    token = jwt.encode(claims | {"roles": ["user"], "tenant": "acme"}, SECRET, "HS256")
    check, admin = free_addresses(0, 0)
    server = Process(
        "extauthz",
        [sys.executable, "-m", "extauthz", "serve"],
        log=tmp_path / "log",
        ready=[answers(f"http://{admin}/readyz")],
        environment={
            "EXTAUTHZ_LISTEN__CHECK__ADDRESS": check,
            "EXTAUTHZ_LISTEN__ADMIN__ADDRESS": admin,
            "EXTAUTHZ_CHECK__DRAINDELAY": "0s",
            "EXTAUTHZ_CHECK__DEADLINE": "5s",
            "PYTHONPATH": str(PROJECT),
        },
        directory=tmp_path,
    )
    await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(server.wait_ready)
        await ask(check, token)
        metrics = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{admin}/metrics", timeout=5).read())
    finally:
        await asyncio.to_thread(server.stop)
    assert b'extauthz_shadow_total{policy="tomorrow",would="deny"} 3.0' in metrics
    log = (tmp_path / "decisions.log").read_text()
    assert token not in log
    assert token.rpartition(".")[2] not in log
    records = [json.loads(line) for line in log.splitlines()]
    assert [record["decision"] for record in records] == ["allow", "allow", "deny"]
    assert all(record["shadow"][0]["would"] == "deny" for record in records)
    assert records[0]["capture"]["caller"]["claims"]["tenant"] == "acme"

    replay = [sys.executable, "-m", "extauthz", "replay", "decisions.log", "--output", "json", "--policies"]

    def replayed(policies: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*replay, policies],
            cwd=tmp_path,
            env={"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    same, narrow = await asyncio.gather(*(asyncio.to_thread(replayed, name) for name in ("policies", "narrow")))
    assert (same.returncode, json.loads(same.stdout)["unchanged"]) == (0, 3)
    told = json.loads(narrow.stdout)
    assert (narrow.returncode, told["denied"], told["approximate"]["records"]) == (1, 1, 0)
    assert told["changes"][0]["routes"][0]["examples"] == [records[1]["id"]]
