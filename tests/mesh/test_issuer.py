"""The development issuer is found by discovery, and its tokens verify with the keys that it publishes."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from mesh.address import free_address
from mesh.issuer import PARTNER, Issuer
from mesh.proxy import PROJECT


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(free_address()) as running:
        yield running


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())


def verified(token: str, jwks: Any, algorithm: str) -> dict[str, Any]:
    """The claims, checked with the published keys."""
    keys = jwt.PyJWKSet.from_dict(jwks)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=[algorithm], audience="orders")
    return claims


def test_discovery_leads_to_the_keys(issuer: Issuer) -> None:
    document = json.loads(fetch(f"{issuer.url}/.well-known/openid-configuration"))
    assert document["issuer"] == issuer.url
    claims = verified(issuer.mint("alice", ["admin"], tenant="acme"), json.loads(fetch(document["jwks_uri"])), "RS256")
    assert (claims["iss"], claims["sub"], claims["roles"], claims["tenant"]) == (issuer.url, "alice", ["admin"], "acme")


def test_tokens_can_be_had_over_http(issuer: Issuer) -> None:
    token = fetch(f"{issuer.url}/mint?sub=root&roles=admin,user&tenant=acme&lifetime=60")
    claims = verified(token, issuer.jwks(), "RS256")
    assert (claims["sub"], claims["roles"], claims["tenant"]) == ("root", ["admin", "user"], "acme")
    assert claims["exp"] - claims["iat"] in {59, 60, 61}


def test_partners_have_keys_and_a_name_of_their_own(issuer: Issuer) -> None:
    token = fetch(f"{issuer.url}/mint?issuer=partner&sub=acme&roles=partner")
    claims = verified(token, json.loads(fetch(f"{issuer.url}/partner/jwks")), "EdDSA")
    assert claims["iss"] == PARTNER
    assert not {key["kid"] for key in issuer.jwks()["keys"]} & {key["kid"] for key in issuer.partner_jwks()["keys"]}


def test_private_keys_are_not_published(issuer: Issuer) -> None:
    for key in [*issuer.jwks()["keys"], *issuer.partner_jwks()["keys"]]:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key)


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/mint?lifetime=soon", 400)])
def test_wrong_requests_are_answered(issuer: Issuer, path: str, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{issuer.url}{path}")
    assert refused.value.code == status
    refused.value.close()


def test_it_refuses_to_hand_out_tokens_to_the_world() -> None:
    command = [sys.executable, "-m", "mesh.issuer", "--listen", "0.0.0.0:8089"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
