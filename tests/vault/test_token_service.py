"""The token service with keys in Transit of a real OpenBao, under the policy that we ship: what clients see when Vault fails."""

import base64
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joserfc.jwk
import joserfc.jwt
import pytest

from mesh.address import free_addresses
from mesh.processes import Process
from mesh.proxy import PROJECT
from tests.vault.openbao import POLICY, OpenBao, RefusedError, running

pytestmark = pytest.mark.timeout(120)

SECRET = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """
vault: {{address: "{url}", secretsPath: secret/auth, timeout: 1s, refresh: 1s, auth: {{tokenFile: token}}}}
listen: {{check: {{address: "{check}"}}, http: {{address: "{http}"}}, admin: {{address: "{admin}"}}}}
check: {{drainDelay: 0s, grace: 1s}}
policies: {{files: [policies]}}
store: {{url: "sqlite:state.db"}}
tokens:
  issuer: http://{http}
  audiences: ["vault:#audience"]
  keys: {{transit: {{}}}}
  clients:
  - {{id: billing, secretFile: "vault:#billing", roles: [user]}}
"""


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    """A server of its own, with what the docs set up."""
    with running(tmp_path, raft=True) as server:
        server.api("POST", "sys/mounts/transit", {"type": "transit"})
        server.api("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        server.api("PUT", "sys/policies/acl/extauthz", {"policy": POLICY})
        end = time.monotonic() + 20
        while True:  # an engine on disk takes a moment
            try:
                server.api("POST", "secret/data/auth", {"data": {"billing": SECRET, "audience": "orders"}})
                break
            except RefusedError:
                assert time.monotonic() < end
                time.sleep(0.05)
        made = server.api("POST", "auth/token/create", {"policies": ["extauthz"], "no_default_policy": True})
        (tmp_path / "token").write_text(made["auth"]["client_token"])
        yield server


class Service:
    """A running server, as its clients see it."""

    def __init__(self, bao: OpenBao, folder: Path) -> None:
        check, self.http, self.admin = free_addresses(0, 0, 0)
        (folder / "policies").mkdir()
        file = folder / "extauthz.yaml"
        file.write_text(CONFIG.format(url=bao.url, check=check, http=self.http, admin=self.admin))
        self.process = Process(
            "extauthz",
            [sys.executable, "-m", "extauthz", "serve", "--config", str(file)],
            log=folder / "log",
            ready=[lambda: self.token()[0] == 200],
            directory=PROJECT,
            ready_within=40,
        )

    def ask(self, url: str, form: dict[str, str] | None = None) -> tuple[int, Any, Any]:
        """Status, headers and document of an answer."""
        request = urllib.request.Request(url, None if form is None else urllib.parse.urlencode(form).encode())
        basic = base64.b64encode(f"billing:{SECRET}".encode()).decode()
        request.add_header("authorization", f"Basic {basic}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()
        except OSError:
            return 0, {}, ""

    def token(self) -> tuple[int, Any, Any]:
        return self.ask(f"http://{self.http}/oauth2/token", {"grant_type": "client_credentials"})

    def audience(self) -> str:
        """Whom a new token is for; empty if there is none now."""
        status, _, text = self.token()
        if status != 200:
            return ""
        payload = json.loads(text)["access_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["aud"] if isinstance(claims["aud"], str) else claims["aud"][0])

    def sample(self, name: str) -> float | None:
        """A figure, if there is one."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.ask(f"http://{self.admin}/metrics")[2], re.MULTILINE)
        return None if found is None else float(found[1])

    def jwks(self) -> Any:
        status, _, text = self.ask(f"http://{self.http}/.well-known/jwks.json")
        assert status == 200
        return json.loads(text)


def until(condition: Callable[[], Any], within: float = 30.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_vault_fails_and_comes_back(bao: OpenBao, tmp_path: Path) -> None:
    """Tokens are signed by a key that never left Vault. Sealed, requests for tokens get 503 with Retry-After at once, the keys
    are published as before, and what was issued is still known; unsealed, all goes on, in the same process.
    """
    service = Service(bao, tmp_path)
    with service.process:
        status, _, text = service.token()
        assert status == 200
        token = json.loads(text)["access_token"]
        keys = service.jwks()
        verified = joserfc.jwt.decode(token, joserfc.jwk.KeySet.import_key_set(keys), algorithms=["ES256"])
        assert verified.claims["sub"] == "billing"
        assert str(verified.header["kid"]).startswith("extauthz-es256-v1-")

        assert (service.sample("extauthz_vault_available"), service.sample("extauthz_signing_usable")) == (1, 1)
        assert 0 < (service.sample("extauthz_vault_token_ttl_seconds") or 0) < 40 * 86_400
        assert (service.sample("extauthz_vault_questions_total") or 0) > 0
        assert (service.sample("extauthz_signature_duration_seconds_count") or 0) >= 1
        assert abs(service.sample("extauthz_vault_clock_skew_seconds") or 0) < 30

        bao.seal()
        for _ in range(10):
            began = time.monotonic()
            status, headers, text = service.token()
            assert status == 503
            assert int(headers["retry-after"]) >= 1
            assert "sealed" not in text  # that is for the operator
            assert time.monotonic() - began < 5
        assert service.jwks() == keys
        status, _, text = service.ask(f"http://{service.http}/oauth2/introspect", {"token": token})
        assert (status, json.loads(text)["active"]) == (200, True)
        until(lambda: "it is sealed" in service.ask(f"http://{service.admin}/readyz?verbose")[2])
        until(lambda: service.sample("extauthz_vault_available") == 0)
        assert service.sample("extauthz_signing_usable") == 0
        assert (service.sample("extauthz_vault_failed_total") or 0) > 0
        assert (service.sample("extauthz_signatures_failed_total") or 0) >= 10

        bao.unseal()
        until(lambda: service.token()[0] == 200)
        assert service.jwks() == keys
        until(lambda: service.sample("extauthz_vault_available") == service.sample("extauthz_signing_usable") == 1)

        # And a value of the configuration that changes is taken, too.
        bao.api("POST", "secret/data/auth", {"data": {"billing": SECRET, "audience": "invoices"}})
        until(lambda: service.audience() == "invoices")
        assert service.jwks() == keys
        assert service.process.returncode is None
    log = service.process.log.read_text()
    assert SECRET not in log
    assert (tmp_path / "token").read_text() not in log
