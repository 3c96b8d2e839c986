"""The token service as others use it: a running server, clients by somebody else, a shell loop, and requests made up from
its description.
"""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, KeySet

from extauthz.tokens.encoding import base64url_bytes
from tests.e2e.token_server import ACCESS_TOKEN, EXCHANGE, SECRET, Running, introspect, revoke, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("tokens")) as server:
        yield server


def verified(server: Running, token: str) -> dict[str, Any]:
    """What a token says, by another library and the published keys."""
    from joserfc import jwt as other

    keys = KeySet.import_key_set(server.get("/.well-known/jwks.json"))  # type: ignore[arg-type]
    decoded = other.decode(token, keys, algorithms=["ES256"])
    assert decoded.header["typ"] == "at+jwt"
    other.JWTClaimsRegistry(
        iss={"essential": True, "value": server.issuer}, aud={"essential": True, "value": "orders"}
    ).validate(decoded.claims)
    return decoded.claims


class TestAuthlib:
    """An OAuth client by somebody else."""

    def test_client_credentials_by_basic(self, server: Running) -> None:
        """And the token verifies with the published keys."""
        token = server.session(scope="read").fetch_token(grant_type="client_credentials")
        claims = verified(server, token["access_token"])
        assert (claims["sub"], claims["scope"], claims["roles"]) == ("billing", "read", ["user"])

    def test_client_credentials_by_post(self, server: Running) -> None:
        """In the form."""
        session = server.session("form", token_endpoint_auth_method="client_secret_post")
        assert verified(server, session.fetch_token(grant_type="client_credentials")["access_token"])["sub"] == "form"

    def test_private_key_jwt(self, server: Running) -> None:
        """For the issuer, and short-lived; Authlib's own defaults (the endpoint, an hour) are refused (O5)."""
        pem = server.client_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        session = server.session("signer", ECKey.import_key(pem), token_endpoint_auth_method="private_key_jwt")
        claims = {"exp": int(time.time()) + 60}
        session.register_client_auth_method(
            PrivateKeyJWT(server.issuer, claims=claims, alg="ES256", headers={"kid": "c"})
        )
        assert verified(server, session.fetch_token(grant_type="client_credentials")["access_token"])["sub"] == "signer"

    def test_refresh_revoke_introspect(self, server: Running) -> None:
        """Each token once; what is revoked is inactive."""
        session = server.session()
        first = session.fetch_token(grant_type="client_credentials")
        second = session.refresh_token(refresh_token=first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]
        assert introspect(session, second["access_token"])["active"]
        revoke(session, second["refresh_token"])
        assert introspect(session, second["access_token"]) == {"active": False}
        assert introspect(session, first["access_token"]) == {"active": False}

    def test_exchange(self, server: Running) -> None:
        """A provider's token, and then the one that came of it once more."""
        session = server.session("gateway")
        form = {"grant_type": EXCHANGE, "subject_token_type": ACCESS_TOKEN}
        foreign = server.foreign(roles=["user", "admin"])
        token = session.fetch_token(subject_token=foreign, **form)
        claims = verified(server, token["access_token"])
        assert (claims["sub"], claims["roles"], claims["src_sub"]) == ("corporate:alice", ["user"], "alice")
        assert claims["exp"] <= int(time.time()) + 60
        again = session.fetch_token(subject_token=token["access_token"], **form)
        assert verified(server, again["access_token"])["sub"] == "corporate:alice"


def test_a_token_that_is_made_by_command(server: Running) -> None:
    """The service knows it as one of its own, until it is revoked by command as well."""

    def command(*words: str) -> str:
        whole = [sys.executable, "-m", "extauthz", "token", *words]
        return subprocess.run(whole, cwd=server.folder, capture_output=True, text=True, timeout=30, check=True).stdout

    token = command("mint", "--subject", "on-call", "--role", "user").strip()
    session = server.session("orders")
    told = introspect(session, token)
    assert (told["active"], told["client_id"], told["sub"], told["roles"]) == (True, "mint", "on-call", ["user"])
    assert introspect(server.session(), token) == {"active": False}, "it is not for billing"
    command("revoke", "--client", "mint")
    deadline = time.monotonic() + 5
    while introspect(session, token)["active"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert introspect(session, token) == {"active": False}


@pytest.mark.system("curl")
def test_a_shell_loop(server: Running) -> None:
    """As the documentation shows it, with curl."""
    token = server.session().fetch_token(grant_type="client_credentials")["access_token"]
    script = (
        "set -e; for i in 1 2 3; do "
        f"""TOKEN=$(curl -sf -X POST -d '{{"token":"'$TOKEN'"}}' {server.issuer}/refresh """
        """| sed -E 's/^\\{"token":"([^"]+)".*/\\1/'); done; echo "$TOKEN" """
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "TOKEN": token},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (
        verified(server, done.stdout.strip())["auth_time"]
        == jwt.decode(token, options={"verify_signature": False})["auth_time"]
    )


def test_requests_from_the_description(server: Running) -> None:
    """What schemathesis makes of the OpenAPI description, with a good proof and without, is answered as described."""
    basic = base64.b64encode(f"billing:{SECRET}".encode()).decode()
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.issuer}/openapi.json", "--no-color"]
    command += ["--header", f"Authorization: Basic {basic}", "--seed", "1", "--max-examples", "4", "--workers", "1"]
    # What is well-formed is not yet a good token.
    command += ["--phases", "coverage,fuzzing", "--exclude-checks", "positive_data_acceptance"]
    done = subprocess.run(command, cwd=server.folder, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_tells_a_secret(server: Running) -> None:
    """Secrets and tokens, good and bad, go through every endpoint, and are looked for in the log at the level debug, in the
    audit log, the metrics, the readiness report and the store's files (X1, O12).
    """
    wrong = [f"c4n4ry{number:x}" + os.urandom(16).hex() for number in range(8)]
    told = server.session().fetch_token(grant_type="client_credentials")
    foreign = server.foreign()
    token, refresh = told["access_token"], told["refresh_token"]
    good = {"client_id": "form", "client_secret": SECRET}
    exchange = {"grant_type": EXCHANGE, "subject_token_type": ACCESS_TOKEN}
    assertion = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": foreign,
    }
    asked: list[tuple[str, dict[str, str], str]] = [
        ("token", {"grant_type": "client_credentials"}, wrong[0]),
        ("token", {"grant_type": "client_credentials", **good}, ""),
        ("token", {"grant_type": "client_credentials", **good, "client_secret": wrong[1]}, ""),
        ("token", {"grant_type": wrong[2], "scope": wrong[3]}, SECRET),
        ("token", {"grant_type": "refresh_token", "refresh_token": refresh}, SECRET),
        ("token", {"grant_type": "refresh_token", "refresh_token": wrong[4]}, SECRET),
        ("token", {"grant_type": "client_credentials", **assertion}, ""),
        ("token", exchange | {"subject_token": foreign}, SECRET),
        ("introspect", {"token": token}, SECRET),
        ("introspect", {"token": wrong[5]}, SECRET),
        ("revoke", {"token": wrong[6]}, SECRET),
        ("revoke", {"token": token}, SECRET),
    ]
    for path, form, secret in asked:
        client = "gateway" if "subject_token" in form else "billing"
        proof = (client, secret) if secret else None
        requests.post(f"{server.issuer}/oauth2/{path}", form, auth=proof, timeout=10)
    for text in (token, refresh, wrong[7]):
        requests.post(f"{server.issuer}/refresh", json={"token": text}, timeout=10)
    pages = [requests.get(server.admin + path, timeout=10).content for path in ("/metrics", "/readyz?verbose")]
    files = [
        path.read_bytes()
        for path in server.folder.iterdir()
        if path.is_file() and path.name.startswith(("log", "audit.log", "state."))
    ]
    assert len(files) >= 4
    sung = [SECRET, *wrong, refresh, *(part for jws in (token, foreign) for part in jws.split(".")[1:])]
    raw = base64url_bytes(refresh.removeprefix("ert_")) or b""
    for seen in (*pages, *files):
        assert [canary for canary in sung if canary.encode() in seen] == []
        assert raw[20:44] not in seen
