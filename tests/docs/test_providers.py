"""The configurations of docs/providers.md take the tokens that these issuers really give out, and make roles of them."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extauthz.app.providers import authenticator
from extauthz.config import load_config
from extauthz.fetch import HttpFetcher
from extauthz.identity import Authenticator, InlineKeys, JwtProvider
from extauthz.model import Deny, Identity
from tests.conftest import PROJECT
from tests.identity.issuer import EC_KEY, RSA_KEY, bearer, jwk, jwks, mint, request, without

PAGE = (PROJECT / "docs" / "providers.md").read_text()
BLOCKS = {
    match[1]: match[0].removeprefix("```yaml\n").removesuffix("```")
    for match in re.finditer(r"^```yaml\nproviders:\n- name: (\S+)\n.*?^```$", PAGE, re.MULTILINE | re.DOTALL)
}
NOW = int(time.time())
DATES = {"iat": NOW - 60, "exp": NOW + 3000}
TENANT = "11111111-2222-3333-4444-555555555555"
NO_TYPE = without("typ")

KUBERNETES = {
    "aud": ["orders"],
    "iss": "https://kubernetes.default.svc.cluster.local",
    "jti": "9aa7a63e-8a50-4c0a-b1b1-0a3c6d3f4f0c",
    "kubernetes.io": {
        "namespace": "shop",
        "node": {"name": "node-1", "uid": "0b2a"},
        "pod": {"name": "cart-7d", "uid": "5c1f"},
        "serviceaccount": {"name": "cart", "uid": "77aa"},
    },
    "nbf": NOW - 60,
    "sub": "system:serviceaccount:shop:cart",
}
KEYCLOAK = {
    "iss": "https://sso.example.com/realms/shop",
    "aud": ["orders", "account"],
    "sub": "f1b7c2c0-6a7e-4b8f-9f2c-2f1c6f0f7a11",
    "typ": "Bearer",
    "azp": "storefront",
    "sid": "c1",
    "acr": "1",
    "jti": "onrtac:1",
    "allowed-origins": ["https://shop.example.com"],
    "realm_access": {"roles": ["offline_access", "platform-admin", "default-roles-shop"]},
    "resource_access": {"orders.api": {"roles": ["viewer"]}, "account": {"roles": ["manage-account"]}},
    "scope": "email profile",
    "preferred_username": "ada",
}
OKTA = {
    "ver": 1,
    "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
    "iss": "https://example.okta.com/oauth2/default",
    "aud": "api://default",
    "sub": "ada@example.com",
    "cid": "0oa1",
    "uid": "00u1",
    "scp": ["openid", "orders"],
    "groups": ["Everyone", "Orders Admins"],
}
AUTH0 = {
    "iss": "https://example.eu.auth0.com/",
    "sub": "auth0|123456",
    "aud": ["https://orders.example.com/", "https://example.eu.auth0.com/userinfo"],
    "client_id": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja",
    "jti": "73WakrfVbNJBaAmhQtEeDv",
    "scope": "openid profile read:orders",
    "permissions": ["read:orders", "read:billing"],
    "https://example.com/roles": ["Orders Admin"],
}
ENTRA = {
    "aud": "66666666-7777-8888-9999-000000000000",
    "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "nbf": NOW - 60,
    "aio": "AXQAi/8TAAAA",
    "azp": "0f0f0f0f-0000-0000-0000-000000000000",
    "azpacr": "1",
    "name": "Ada",
    "oid": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "preferred_username": "ada@example.com",
    "rh": "0.ARwA",
    "roles": ["Orders.Read", "Billing.Admin"],
    "scp": "orders.read",
    "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
    "tid": TENANT,
    "uti": "fqiBqXLPj0eQa82S-IYFAA",
    "ver": "2.0",
}
ENTRA_V1 = {
    **{name: value for name, value in ENTRA.items() if name not in {"azp", "azpacr", "preferred_username"}},
    "aud": "api://orders",
    "iss": f"https://sts.windows.net/{TENANT}/",
    "appid": "0f0f0f0f-0000-0000-0000-000000000000",
    "roles": ["Orders.Admin"],
    "ver": "1.0",
}
GOOGLE = {
    "aud": "https://orders.example.com",
    "azp": "104112233445566778899",
    "email": "cart@shop.iam.gserviceaccount.com",
    "email_verified": True,
    "iss": "https://accounts.google.com",
    "sub": "104112233445566778899",
}
IAP = {
    "aud": "/projects/123456789/global/backendServices/987654321",
    "azp": "/projects/123456789/global/backendServices/987654321",
    "email": "ada@example.com",
    "hd": "example.com",
    "iss": "https://cloud.google.com/iap",
    "sub": "accounts.google.com:1122",
}
COGNITO = {
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "cognito:groups": ["customers", "beta"],
    "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI",
    "version": 2,
    "client_id": "3n4b5urk1ft4fl3mg5e62d9ado",
    "origin_jti": "b1",
    "event_id": "e1",
    "token_use": "access",
    "scope": "orders/read openid",
    "auth_time": NOW - 60,
    "jti": "j1",
    "username": "ada",
}

TAKEN: list[tuple[str, dict[str, Any], dict[str, Any], set[str]]] = [
    ("cluster", KUBERNETES, NO_TYPE, {"cart", "shop-workload"}),
    ("cluster", {**KUBERNETES, "sub": "system:serviceaccount:shop:other"}, NO_TYPE, {"shop-workload"}),
    ("cluster", {**KUBERNETES, "sub": "cart", "kubernetes.io": {"namespace": "cart"}}, NO_TYPE, set()),
    ("keycloak", KEYCLOAK, {}, {"admin", "user"}),
    ("keycloak", {**KEYCLOAK, "realm_access": {"roles": ["admin"]}, "resource_access": {}}, {}, set()),
    ("okta", OKTA, NO_TYPE, {"admin", "user"}),
    ("okta", {**OKTA, "groups": ["admin", "user"]}, NO_TYPE, set()),
    ("auth0", AUTH0, {"typ": "at+jwt"}, {"admin", "user"}),
    ("entra", ENTRA, {}, {"user"}),
    ("entra-v1", ENTRA_V1, {}, {"admin"}),
    ("google", GOOGLE, {}, {"user"}),
    ("google", {**GOOGLE, "sub": "user", "azp": "2"}, {}, set()),
    ("iap", IAP, {}, {"user"}),
    ("cognito", COGNITO, NO_TYPE, {"user"}),
    ("cognito", {**COGNITO, "cognito:groups": ["admin"]}, NO_TYPE, set()),
]

REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("cluster", {**KUBERNETES, "aud": ["https://kubernetes.default.svc.cluster.local"]}, NO_TYPE, "audience-mismatch"),
    ("cluster", {**KUBERNETES, "exp": NOW + 365 * 86_400}, NO_TYPE, "claim-invalid"),
    ("keycloak", {**KEYCLOAK, "typ": "ID"}, {}, "claim-invalid"),
    ("keycloak", {**KEYCLOAK, "aud": "account"}, {}, "audience-mismatch"),
    ("okta", {**OKTA, "iss": "https://example.okta.com"}, NO_TYPE, "issuer-unknown"),
    ("auth0", AUTH0, {"typ": "JWT"}, "claim-invalid"),
    ("auth0", {**AUTH0, "iss": "https://example.eu.auth0.com"}, {"typ": "at+jwt"}, "issuer-unknown"),
    ("entra", {**ENTRA, "nonce": "n"}, {}, "claim-invalid"),
    ("entra", ENTRA_V1, {}, "issuer-unknown"),
    ("google", {**GOOGLE, "at_hash": "h"}, {}, "claim-invalid"),
    ("cognito", {**COGNITO, "token_use": "id"}, NO_TYPE, "claim-invalid"),
    ("cognito", {**COGNITO, "client_id": "other"}, NO_TYPE, "audience-mismatch"),
    ("cognito", {**COGNITO, "aud": "https://billing.example.com"}, NO_TYPE, "audience-mismatch"),
]


def outcome(
    name: str, claims: dict[str, Any], header: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Identity | Deny:
    """What the configuration of that name makes of a token, with keys of ours in the place of the issuer's."""
    keys = InlineKeys(jwks(jwk(RSA_KEY, "r", use="sig"), jwk(EC_KEY, "e", use="sig", alg="ES256")))

    def with_our_keys(providers: list[JwtProvider], *arguments: Any, **parts: Any) -> Authenticator:
        return Authenticator([replace(provider, keys=keys) for provider in providers], *arguments, **parts)

    monkeypatch.setattr("extauthz.app.providers.Authenticator", with_our_keys)
    file = folder / "extauthz.yaml"
    file.write_text(BLOCKS[name])
    config = load_config(str(file), {})
    subject = authenticator(config, HttpFetcher(), time.time)
    ec = config.providers[0].jwt is not None and config.providers[0].jwt.algorithms == ("ES256",)
    kind: dict[str, Any] = {"alg": "ES256", "kid": "e"} if ec else {"kid": "r"}
    plain = without("aud", "roles", "iss", "sub")
    token = mint({**plain, **DATES, **claims}, key=EC_KEY if ec else RSA_KEY, header={**kind, **header})
    place = config.providers[0].places.headers[0].name
    found = subject.authenticate(bearer(token) if place == "authorization" else request({place: token}))
    assert isinstance(found, Identity | Deny)
    return found


def test_each_configuration_is_tried() -> None:
    """A configuration that is added to the page without a token fails here."""
    assert set(BLOCKS) == {name for name, *_ in TAKEN}
    assert PAGE.count("\nproviders:\n") == len(BLOCKS)


@pytest.mark.parametrize(("name", "claims", "header", "roles"), TAKEN, ids=[name for name, *_ in TAKEN])
def test_tokens_become_roles(
    name: str,
    claims: dict[str, Any],
    header: dict[str, Any],
    roles: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T42, T43: roles come out of names with dots, colons and URLs, and only those that are mapped and may be granted."""
    found = outcome(name, claims, header, tmp_path, monkeypatch)
    assert isinstance(found, Identity), found
    assert found.roles == roles
    assert found.provider == name


@pytest.mark.parametrize(
    ("name", "claims", "header", "reason"), REFUSED, ids=[f"{name} {reason}" for name, *_, reason in REFUSED]
)
def test_other_tokens_of_the_same_issuer_are_refused(
    name: str,
    claims: dict[str, Any],
    header: dict[str, Any],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T32, T35, T40: what the page says is refused is refused, and for that reason."""
    found = outcome(name, claims, header, tmp_path, monkeypatch)
    assert isinstance(found, Deny)
    assert found.reason.word == reason
