"""The whole token service on a real OpenBao that is sealed, killed, stopped, forbids and rotates, while Checks go on (K11, K12).

Keys in Transit, an AppRole with the policy that we ship and no other, storage by raft. Checks are asked over gRPC.
"""

import base64
import json
import signal
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.replicas import CLIENT, Replicas
from tests.canaries import pages_of, secret
from tests.journey import check_request
from tests.vault.openbao import POLICY, OpenBao, RefusedError, running

pytestmark = pytest.mark.timeout(120)

KEY = "transit/keys/extauthz-es256"
KEYS = {"transit": {}, "rotateEvery": "1h", "publishDelay": "2s", "refresh": "500ms", "clockSkew": "100ms"}
WITHIN = 30.0
"""Seconds for what takes its time on a busy machine."""


@dataclass
class Site:
    """An OpenBao, and a server whose keys are there."""

    bao: OpenBao
    replicas: Replicas
    codes: list[int] = field(default_factory=list)
    """What Checks were answered: 0 is an allow."""

    def ask(self, **form: str) -> tuple[int, dict[str, Any]]:
        """The token endpoint: its status, and what it tells; with a 503 it says when to come back."""
        request = urllib.request.Request(self.replicas.issuer + "/oauth2/token", urllib.parse.urlencode(form).encode())
        proof = base64.b64encode(f"{CLIENT}:{self.replicas.secret}".encode()).decode()
        request.add_header("authorization", f"Basic {proof}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                told: dict[str, Any] = json.loads(answer.read())
                secret(told["access_token"])
                return 200, told
        except urllib.error.HTTPError as refused:
            with refused:
                error, later = json.loads(refused.read())["error"], refused.headers["retry-after"]
                status = refused.code
        assert (status, error) == (503, "temporarily_unavailable")
        assert int(later) >= 1
        return status, {}

    def token(self) -> dict[str, Any]:
        """One that is there."""
        status, told = self.ask(grant_type="client_credentials")
        assert status == 200
        return told

    def report(self) -> str:
        url = f"http://{self.replicas.all[0].admin}/readyz?verbose"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return str(error.read().decode())

    @contextmanager
    def checked(self, *tokens: str) -> Iterator[None]:
        """Checks with these tokens all the while; each is allowed."""
        self.codes.clear()
        over = threading.Event()
        messages = [check_request(headers={"authorization": f"Bearer {token}"}) for token in tokens]

        def check() -> None:
            with grpc.insecure_channel(self.replicas.all[0].check) as channel:
                call: Any = channel.unary_unary(CHECK_METHOD, response_deserializer=CheckResponse.FromString)
                while not over.wait(0.02):
                    self.codes += (call(message, timeout=10).status.code for message in messages)

        thread = threading.Thread(target=check)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        assert len(self.codes) > 10
        assert set(self.codes) == {0}


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("outages")
    with running(tmp_path_factory.mktemp("bao"), raft=True) as bao:
        bao.api("POST", "sys/mounts/transit", {"type": "transit"})
        bao.api("POST", "sys/auth/approle", {"type": "approle"})
        bao.api("PUT", "sys/policies/acl/extauthz", {"policy": POLICY})
        role = {"token_policies": ["extauthz"], "token_no_default_policy": True, "token_ttl": "20m"}
        until(lambda: created(bao, role))
        (folder / "role-id").write_text(bao.api("GET", "auth/approle/role/extauthz/role-id")["data"]["role_id"])
        secret_id = bao.api("POST", "auth/approle/role/extauthz/secret-id")["data"]["secret_id"]
        (folder / "secret-id").write_text(secret(secret_id, "the secret id"))
        login = {"appRole": {"roleIdFile": "role-id", "secretIdFile": "secret-id"}}
        vault = {"address": bao.url, "auth": login, "timeout": "1s", "refresh": "1s"}
        with Replicas(folder, 1, keys=KEYS, settings={"vault": vault}) as replicas:
            secret(replicas.secret, "the client's secret")
            yield Site(bao, replicas)
            pages_of(replicas.all[0].admin)


def created(bao: OpenBao, role: dict[str, Any]) -> bool:
    """An engine on disk takes a moment."""
    try:
        bao.api("POST", "auth/approle/role/extauthz", role)
    except RefusedError:
        return False
    return True


def forbid(bao: OpenBao) -> None:
    """Take the permission to sign away."""
    bao.api("PUT", "sys/policies/acl/extauthz", {"policy": POLICY.replace('path "transit/sign', 'path "else/sign')})


def restart(bao: OpenBao) -> None:
    bao.start()
    bao.unseal()


FAULTS: dict[str, tuple[Callable[[OpenBao], None], Callable[[OpenBao], None], str]] = {
    "sealed": (OpenBao.seal, OpenBao.unseal, "sealed"),
    "killed": (OpenBao.stop, restart, "can't be reached"),
    "stopped": (lambda bao: bao.send(signal.SIGSTOP), lambda bao: bao.send(signal.SIGCONT), "within"),
    "forbidden": (
        forbid,
        lambda bao: bao.api("PUT", "sys/policies/acl/extauthz", {"policy": POLICY}),
        "permission denied",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_checks_go_on_while_tokens_have_to_wait(site: Site, fault: str) -> None:
    """Each request for a token is told to come back, nothing is used up, readiness says why, and a restart is not needed."""
    break_it, mend_it, told = FAULTS[fault]
    pid = site.replicas.all[0].process.pid
    first = site.token()
    with site.checked(first["access_token"]):
        break_it(site.bao)
        until(lambda: site.ask(grant_type="client_credentials")[0] == 503)
        refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        assert [site.ask(**refresh)[0] for _ in range(3)] == [503] * 3
        until(lambda: told in site.report())
        mend_it(site.bao)
        until(lambda: site.ask(grant_type="client_credentials")[0] == 200)
        status, second = site.ask(**refresh)
        assert status == 200
        until(lambda: "[-]" not in site.report())
    with site.checked(second["access_token"]):
        time.sleep(0.5)
    assert site.replicas.all[0].process.pid == pid
    assert site.replicas.all[0].process.returncode is None


def test_a_key_that_somebody_else_rotates_is_followed(site: Site) -> None:
    """It is published before it signs; no request for a token fails, and tokens of both keys are good."""
    old = site.token()["access_token"]
    before = jwt.get_unverified_header(old)["kid"]
    with site.checked(old):
        site.bao.api("POST", f"{KEY}/rotate")
        until(lambda: jwt.get_unverified_header(site.token()["access_token"])["kid"] != before)
    with site.checked(old, site.token()["access_token"]):
        time.sleep(0.5)
