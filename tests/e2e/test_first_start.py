"""The first minute of a new user: no configuration, no policy."""

import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.conftest import PROJECT
from tests.e2e.test_workers import consecutive
from tests.journey import assert_denies, check_request, reason_of

pytestmark = pytest.mark.timeout(60)

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: first}
spec:
  authentication: {optional: true}
  rules: [{role: anonymous}]
"""


def ask(address: str) -> CheckResponse:
    """One Check, as a proxy sends it."""
    with grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, CheckResponse] = channel.unary_unary(
            CHECK_METHOD, response_deserializer=CheckResponse.FromString
        )
        return call(check_request(), timeout=5)


def test_a_server_without_policies_denies_and_says_how_to_begin(tmp_path: Path) -> None:
    """And takes the first policy into force without a restart."""
    check, admin = free_addresses(0, 0)
    environment = {
        "EXTAUTHZ_LISTEN__CHECK__ADDRESS": check,
        "EXTAUTHZ_LISTEN__ADMIN__ADDRESS": admin,
        "EXTAUTHZ_CHECK__DRAINDELAY": "0s",
        "PYTHONPATH": str(PROJECT),
    }
    command = [sys.executable, "-m", "extauthz", "serve"]
    ready = [answers(f"http://{admin}/readyz")]
    server = Process(
        "extauthz", command, log=tmp_path / "log", ready=ready, environment=environment, directory=tmp_path
    )
    with server:
        response = ask(check)
        assert_denies(response)
        assert reason_of(response) == "no-policy"
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "first.yaml").write_text(POLICY)
        deadline = time.monotonic() + 20
        while ask(check).status.code != 0 and time.monotonic() < deadline:
            time.sleep(0.03)
        assert ask(check).status.code == 0
        server.stop()
    assert server.returncode == 0
    log = (tmp_path / "log").read_text()
    assert "there is no policy yet" in log
    assert "kind: AuthPolicy" in log


def test_a_broken_policy_stops_the_start(tmp_path: Path) -> None:
    """Exit code 2, and every problem with its place: there is no last good set to fall back to."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "bad.yaml").write_text("kind: AuthPolicy\nspec: {rulez: []}\n")
    check, admin = free_addresses(0, 0)
    run = subprocess.run(
        [sys.executable, "-m", "extauthz", "serve"],
        cwd=tmp_path,
        env={
            "PATH": "",
            "PYTHONPATH": str(PROJECT),
            "EXTAUTHZ_LISTEN__CHECK__ADDRESS": check,
            "EXTAUTHZ_LISTEN__ADMIN__ADDRESS": admin,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert "policies/bad.yaml:2:8" in run.stderr
    assert "rulez" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_secret_that_others_may_read_is_told_once(tmp_path: Path, workers: int) -> None:
    """However many processes read it. What others may not read is no line."""
    check, _ = consecutive()
    http, admin = free_addresses(0, 0)
    for name, mode in (("one", 0o644), ("two", 0o600)):
        (tmp_path / name).write_text(f"{name * 20}\n")
        (tmp_path / name).chmod(mode)
    service = {
        "issuer": f"http://{http}",
        "audiences": ["orders"],
        "clients": [{"id": name, "secretFile": name} for name in ("one", "two")],
    }
    listen = {"check": {"address": check}, "http": {"address": http}, "admin": {"address": admin}}
    written = {"listen": listen, "tokens": service, "workers": workers, "check": {"drainDelay": "0s"}}
    written |= {"store": {"url": "sqlite:state.db"}, "limits": {"perProcess": True}}
    (tmp_path / "extauthz.yaml").write_text(json.dumps(written))
    ready = [answers(f"http://{admin}/readyz")]
    command = [sys.executable, "-m", "extauthz", "serve"]
    environment = {"PYTHONPATH": str(PROJECT)}
    with Process(
        "extauthz", command, log=tmp_path / "log", ready=ready, environment=environment, directory=tmp_path
    ) as server:
        server.stop()
    (told,) = [line for line in (tmp_path / "log").read_text().splitlines() if "secret_file.readable" in line]
    for words in ("one", "tokens.clients[0].secretFile", "-rw-r--r--", "chmod 600"):
        assert words in told
