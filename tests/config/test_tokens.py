"""``tokens``: the token service, and what must fit together in it."""

from collections.abc import Callable
from typing import Any

import pytest

Load = Callable[..., Any]
Problems = Callable[..., list[str]]

SHOP = "{id: shop, secretFile: shop.secret, audiences: [orders]}"


def tokens(*clients: str, issuer: str = "https://auth.example.com", more: str = "", top: str = "") -> str:
    """A configuration with these clients."""
    return f"{top}tokens: {{issuer: '{issuer}', {more}clients: [{', '.join(clients)}]}}\n"


def test_there_is_none_by_default(load: Load) -> None:
    """Nothing is issued unless somebody writes so."""
    assert load("").tokens is None


def test_defaults(load: Load) -> None:
    """Tokens live for minutes, refresh tokens for days."""
    written = load(tokens(SHOP)).tokens
    assert (written.access_token_lifetime, written.renew_for) == (300, 86_400)
    assert (written.refresh.lifetime, written.refresh.idle, written.refresh.grace) == (30 * 86_400, 7 * 86_400, 30)
    assert (written.rates.per_client, written.rates.failures_per_address, written.rates.refresh_per_session) == (
        600,
        60,
        12,
    )
    assert written.clients[0].roles == written.clients[0].scopes == ()


@pytest.mark.parametrize(
    "issuer",
    [
        "https://auth.example.com",
        "https://x.example.com/auth",
        "http://127.0.0.1:8080",
        "http://[::1]:1",
        "http://localhost:8080",
    ],
)
def test_issuers(load: Load, issuer: str) -> None:
    """https, or a loopback address."""
    assert load(tokens(SHOP, issuer=issuer)).tokens.issuer == issuer


@pytest.mark.parametrize(
    ("issuer", "said"),
    [
        ("http://auth.example.com", "is plain http"),
        ("http://10.0.0.1:8080", "is plain http"),
        ("https://auth.example.com/", "ends without a slash"),
        ("https://auth.example.com?x=1", "has no query"),
        ("https://a:b@auth.example.com", "must not hold a user name"),
        ("auth.example.com", "is not an https URL"),
    ],
)
def test_issuers_that_are_none(problems: Problems, issuer: str, said: str) -> None:
    """The message says what is wrong."""
    (told,) = problems(tokens(SHOP, issuer=issuer))
    assert said in told
    assert told.startswith("1:")


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("{id: shop, audiences: [a]}", "has no way to prove who it is"),
        ("{id: shop, audiences: [a], secretFile: a, jwksFile: b}", "in one way, not by secretFile and jwksFile"),
        ("{id: shop, audiences: [a], jwksFile: b, secretIn: form}", "the client has no secret"),
        ("{id: shop, secretFile: a}", "has no audiences"),
        ("{id: shop, secretFile: a, audiences: ['*']}", "would be a token for everybody"),
        ("{id: 'a:b', secretFile: a, audiences: [a]}", "can't be the id of a client"),
        ("{id: mint, secretFile: a, audiences: [a]}", "is the client of tokens that are made by extauthz token mint"),
        ("{id: shop, secretFile: a, audiences: [a], scopes: ['a b']}", "can't be a scope"),
        ("{id: shop, secretFile: a, audiences: [a], roles: [anonymous]}", "anonymous"),
        (
            "{id: shop, secretFile: a, audiences: [a], refresh: true, grants: [clientCredentials]}",
            "have no refreshToken",
        ),
        (
            "{id: shop, secretFile: a, audiences: [a], grants: [refreshToken, clientCredentials]}",
            "does nothing without refresh",
        ),
        ("{id: shop, secretFile: a, audiences: [a], grants: [tokenExchange]}", "does nothing without exchange"),
        ("{id: shop, secretFile: a, audiences: [a], grants: [password]}", "grants[0]"),
        (
            "{id: shop, secretFile: a, audiences: [a], exchange: {providers: [corporate]}}",
            "there is no provider 'corporate'",
        ),
        ("{id: shop, secretFile: a, audiences: [a], lifetime: 25h}", "must be from 1s to 1d"),
        (f"{SHOP}, {SHOP}", "there is another client 'shop'"),
    ],
)
def test_clients_that_are_none(problems: Problems, client: str, said: str) -> None:
    """Each fault with its place."""
    (told,) = problems(tokens(client))
    assert said in told
    assert told.startswith("1:")


def test_an_exchange_names_providers_with_tokens(load: Load, problems: Problems) -> None:
    """Proxies and people with passwords have none."""
    gateway = "{id: gw, secretFile: a, audiences: [a], exchange: {providers: [corporate]}}"
    jwt = "providers: [{name: corporate, jwt: {issuer: 'https://login.example.com', audiences: [x]}}]\n"
    mesh = "providers: [{name: corporate, mesh: {trustDomains: [cluster.local]}}]\n"
    assert load(tokens(gateway, top=jwt)).tokens.clients[0].exchange.providers == ("corporate",)
    (told,) = problems(tokens(gateway, top=mesh))
    assert "have no token to exchange" in told


@pytest.mark.parametrize("key", ["issuer", "endpoint"])
def test_nobody_else_vouches_in_the_services_name(load: Load, problems: Problems, key: str) -> None:
    """O39: whom another endpoint calls alice would be taken for our own alice when its token is exchanged."""
    written = {"endpoint": "https://login.example.com/introspect", "clientId": "me", "clientSecretFile": "s"}
    foreign = f"providers: [{{name: p, introspection: {written}}}]\n"
    assert load(tokens(SHOP, top=foreign))
    foreign = f"providers: [{{name: p, introspection: { {**written, key: 'https://auth.example.com'} }}}]\n"
    (told,) = problems(tokens(SHOP, top=foreign))
    assert f"providers[0].introspection.{key}: the token service of this configuration has this issuer" in told


def test_workers_share_what_is_revoked(problems: Problems) -> None:
    """Or one would accept what another has revoked."""
    told = problems(tokens(SHOP, top="workers: 2\nlimits: {perProcess: true}\n"))
    assert any("what one has revoked the others would accept" in line for line in told)


def test_idle_is_within_the_lifetime(problems: Problems) -> None:
    """Else it means nothing."""
    (told,) = problems(tokens(SHOP, more="refresh: {lifetime: 1h, idle: 2h}, "))
    assert "tokens.refresh.idle" in told


def test_certificates_are_asked_for_by_the_listener(load: Load, problems: Problems) -> None:
    """A client that is known by its certificate needs a listener that asks for one."""
    client = "{id: edge, certificateSubject: 'spiffe://x/edge', audiences: [a]}"
    (told,) = problems(tokens(client))
    assert "no client shows a certificate to listen.http" in told
    listen = "listen: {http: {tls: {certFile: c, keyFile: k, clientCaFile: ca, clientCertificates: optional}}}\n"
    assert load(tokens(client, top=listen)).tokens.clients[0].certificate_subject == "spiffe://x/edge"


def test_a_provider_for_the_services_own_tokens(load: Load, problems: Problems) -> None:
    """Its keys are those of this process: none are given, and plain http on loopback is no danger."""
    own = "providers: [{name: own, jwt: {issuer: 'http://127.0.0.1:8080', audiences: [a]%s}}]\n"
    assert load(tokens(SHOP, issuer="http://127.0.0.1:8080", top=own % "")).providers[0].name == "own"
    (told,) = problems(tokens(SHOP, issuer="http://127.0.0.1:8080", top=own % ", jwksFile: k"))
    assert "its own keys are used" in told
    (told,) = problems(tokens(SHOP, issuer="http://127.0.0.1:8081", top=own % ""))
    assert "plain http" in told


def test_its_provider_gets_no_advice_while_tokens_cant_be_read(problems: Problems) -> None:
    """Whoever mistypes a key of ``tokens`` is not told to fetch its own keys over plain HTTP."""
    own = "providers: [{name: own, jwt: {issuer: 'http://127.0.0.1:8080', audiences: [orders]}}]\n"
    (told,) = problems(tokens(SHOP, issuer="http://127.0.0.1:8080", more="colour: 1, ") + own)
    assert "unknown key 'tokens.colour'" in told


def test_keys_are_told_in_the_same_run(problems: Problems) -> None:
    """With all that is wrong besides."""
    told = problems(tokens("{id: shop, secretFile: a}", more="keys: {secretFile: s, rotateEvery: 1d}, "))
    assert [line.partition(": ")[2].partition(":")[0] for line in told] == [
        "tokens.keys.rotateEvery",
        "tokens.clients[0]",
    ]


def test_paths_are_relative_to_the_file(load: Load) -> None:
    """Those of the keys' default too, whoever starts the server from wherever."""
    written = load(tokens(SHOP)).tokens
    assert (written.clients[0].secret_file, written.keys.folder) == ("shop.secret", "signing-keys")
