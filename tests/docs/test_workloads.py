"""docs/workloads.md end to end: the token of a service account is exchanged, and what comes out is judged by the policy."""

import base64
import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extauthz.cli import main
from extauthz.documents import read_documents
from mesh.address import free_addresses
from mesh.processes import Process, accepts, answers
from tests.conftest import PROJECT
from tests.identity.issuer import RSA_KEY, jwk, jwks, mint, without

PAGE = (PROJECT / "docs" / "workloads.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SERVICE, POLICY, POD, VERIFIER = BLOCKS
SECRET = "0123456789abcdef0123456789abcdef01234567"
ISSUER = "https://auth.example.com"
CART = "system:serviceaccount:shop:cart"
URL = "http://orders.shop.svc.cluster.local/orders"


def value_of(text: str) -> Any:
    (document,), problems = read_documents(text, "workloads.md")
    assert problems == []
    return document.value


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The service of the page, with what is of a cluster replaced: addresses, files, the store, Vault and the API server's keys."""
    check, http, admin = free_addresses(0, 0, 0)
    url = f"http://{http}"
    config = value_of(SERVICE.replace(ISSUER, url))
    config["listen"] = {"check": {"address": check}, "http": {"address": http}, "admin": {"address": admin}}
    config["check"] = {"drainDelay": "0s"}
    config["store"] = {"url": "sqlite:state.db"}
    config["tokens"]["audit"] = {"file": "audit.log", "keyFile": "audit.key"}
    config["tokens"]["keys"] = {"folder": "signing-keys"}
    del config["vault"]
    config["tokens"]["clients"][0]["secretFile"] = "secret"
    cluster = config["providers"][0]
    cluster["jwt"]["jwksFile"] = "cluster.json"
    del cluster["jwt"]["jwksUri"], cluster["fetch"]
    config["policies"] = {"files": ["policy.yaml"]}
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("EXTAUTHZ_")]:
        monkeypatch.delenv(name)
    verifier = value_of(VERIFIER.replace(ISSUER, url))
    verifier["providers"][0]["fetch"] = {"allowPrivateAddresses": True, "allowHttp": True}
    Path("verifier.yaml").write_text(json.dumps(verifier))
    Path("extauthz.yaml").write_text(json.dumps(config))
    Path("policy.yaml").write_text(POLICY)
    Path("secret").write_text(SECRET)
    Path("cluster.json").write_text(json.dumps(jwks(jwk(RSA_KEY, "k1"))))
    command = [sys.executable, "-m", "extauthz", "serve"]
    ready = [answers(f"http://{admin}/readyz"), accepts(http)]
    with Process("extauthz", command, log=tmp_path / "log", ready=ready, directory=tmp_path):
        yield url


def account_token(issuer: str, **changed: Any) -> str:
    """What the kubelet mounts, as the pod of the page asks for it."""
    (projected,) = [volume for volume in value_of(POD)["spec"]["volumes"] if volume["name"] == "account"]
    asked = projected["projected"]["sources"][0]["serviceAccountToken"]
    now = int(time.time())
    claims = {
        "iss": "https://kubernetes.default.svc.cluster.local",
        "aud": [asked["audience"].replace(ISSUER, issuer)],
        "sub": CART,
        "iat": now,
        "nbf": now,
        "exp": now + asked["expirationSeconds"],
        **changed,
    }
    return mint({**without("jti"), **claims}, header=without("typ"))


def exchanged(issuer: str, token: str) -> dict[str, Any]:
    """The answer to the exchange that the agent of the page makes."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    proof = base64.b64encode(f"shop-agents:{SECRET}".encode()).decode()
    asked = urllib.request.Request(
        f"{issuer}/oauth2/token",
        data=urllib.parse.urlencode(form).encode(),
        headers={"authorization": f"Basic {proof}"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = json.load(error)
    return said


def test_from_the_service_account_to_the_policy(issuer: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The cart may order, and nobody else's token helps; a replica that only verifies learns of no revocation."""

    def explained(token: str, *words: str) -> Any:
        capsys.readouterr()
        main(["explain", *(words or ("POST", URL)), "-H", f"authorization: Bearer {token}", "--output", "json"])
        return json.loads(capsys.readouterr().out)["reason"]

    def verified(config: str) -> int:
        return main(["token", "verify", "token", "--config", config])

    account = account_token(issuer)
    token = exchanged(issuer, account)["access_token"]
    Path("token").write_text(token)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["sub"], claims["roles"], claims["aud"]) == (f"cluster:{CART}", ["cart"], "orders")
    assert explained(token) == "allowed"
    assert explained(token, "GET", URL) == "no-rule"
    assert explained(account) == "no-rule"
    assert (
        exchanged(issuer, account_token(issuer, aud=["https://kubernetes.default.svc"]))["error"] == "invalid_request"
    )
    other = exchanged(issuer, account_token(issuer, sub="system:serviceaccount:evil:cart"))["access_token"]
    assert explained(other) == "role-missing"

    assert verified("extauthz.yaml") == verified("verifier.yaml") == 0
    assert main(["token", "revoke", "--client", "shop-agents"]) == 0
    assert verified("extauthz.yaml") == 1
    assert verified("verifier.yaml") == 0
