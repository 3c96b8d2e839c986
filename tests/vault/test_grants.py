"""Grants while a real OpenBao, whose Transit has the keys, is sealed and opened again: nothing is used up."""

import time
from pathlib import Path

import pytest
import requests

from tests.e2e.token_server import SECRET, Running, introspect, running
from tests.vault.openbao import OpenBao

pytestmark = pytest.mark.timeout(120)


def asked(server: Running, form: dict[str, str], client: str = "steady") -> requests.Response:
    return requests.post(f"{server.issuer}/oauth2/token", form, auth=(client, SECRET), timeout=10)


def test_sealed_and_opened(raft: OpenBao, tmp_path: Path) -> None:
    """Sealed: 503 with Retry-After, what was issued stays good, and no refresh token is used up, although none has a grace.
    Opened: all goes on without a restart (K11, K12).
    """
    mount = raft.mount("transit")
    (tmp_path / "token").write_text(raft.token)
    vault = {"address": raft.url, "auth": {"tokenFile": "token"}}
    tokens = {"keys": {"transit": {"mount": mount}, "refresh": "200ms"}, "refresh": {"grace": "0s"}}
    with running(tmp_path, tokens=tokens, vault=vault) as server:
        session = server.session("steady")
        first = session.fetch_token(grant_type="client_credentials")
        second = session.refresh_token(refresh_token=first["refresh_token"])
        raft.seal()
        for form in (
            {"grant_type": "client_credentials"},
            {"grant_type": "refresh_token", "refresh_token": second["refresh_token"]},
        ):
            for _ in range(2):
                began = time.monotonic()
                answer = asked(server, form)
                assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
                assert int(answer.headers["retry-after"]) >= 1
                assert time.monotonic() - began < 8
        assert introspect(session, second["access_token"])["active"]
        assert len(server.get("/.well-known/jwks.json")["keys"]) >= 1
        end = time.monotonic() + 10
        while "[-] signing keys: " not in (told := requests.get(f"{server.admin}/readyz?verbose", timeout=5).text):
            assert time.monotonic() < end, told
            time.sleep(0.1)
        raft.unseal()
        end = time.monotonic() + 30
        while (answer := asked(server, {"grant_type": "client_credentials"})).status_code != 200:
            assert time.monotonic() < end, answer.text
            time.sleep(0.2)
        third = session.refresh_token(refresh_token=second["refresh_token"])
        assert introspect(session, third["access_token"])["active"]
        exchange = server.session("gateway")
        foreign = {"subject_token": server.foreign(), "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
        grant = "urn:ietf:params:oauth:grant-type:token-exchange"
        assert exchange.fetch_token(grant_type=grant, **foreign)["access_token"]
    assert raft.token not in (tmp_path / "log").read_text()
