"""Providers of kind introspection, as they are written."""

from collections.abc import Callable
from typing import Any

import pytest

ENDPOINT = "https://a.example/introspect"


def entry(introspection: str = "", rest: str = "", *, client: str = "clientSecretFile: s", name: str = "a") -> str:
    """One entry of the list of providers."""
    words = [f"endpoint: '{ENDPOINT}', clientId: me", *filter(None, (client, introspection))]
    return f"- {{name: {name}, introspection: {{{', '.join(words)}}}" + (f", {rest}" if rest else "") + "}\n"


def providers(*entries: str) -> str:
    return "providers:\n" + "".join(entries)


def test_defaults(load: Callable[..., Any]) -> None:
    """T63: without a word about it, answers are kept for a minute, refusals for seconds; and the secret goes by basic."""
    found = load(providers(entry())).providers[0]
    introspection = found.introspection
    assert found.jwt is None
    assert (introspection.endpoint, introspection.client_id) == (ENDPOINT, "me")
    assert (introspection.client_authentication, introspection.client_secret_file) == ("basic", "s")
    assert (introspection.cache_max_age, introspection.inactive_max_age) == (60.0, 5.0)
    assert (introspection.max_concurrent, introspection.timeout, introspection.clock_skew) == (32, 1.0, 60.0)
    assert (introspection.issuer, introspection.audiences, introspection.missing_subject) == (None, None, "refuse")
    assert [(header.name, header.prefix) for header in found.places.headers] == [("authorization", "Bearer ")]


@pytest.mark.parametrize(
    ("client", "method"),
    [
        ("clientAuthentication: post, clientSecretFile: s", "post"),
        ("clientAuthentication: privateKeyJwt, privateKeyFile: k", "privateKeyJwt"),
        (
            "clientAuthentication: privateKeyJwt, privateKeyFile: k, algorithm: ES256, keyId: '1', assertionAudience: x",
            "privateKeyJwt",
        ),
    ],
)
def test_client_authentication(load: Callable[..., Any], client: str, method: str) -> None:
    """T61: who we are is proven by a secret in the header or the form, or by an assertion."""
    assert load(providers(entry(client=client))).providers[0].introspection.client_authentication == method


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ("", "introspection: clientAuthentication basic needs a secret (give its file with clientSecretFile)"),
        ("clientAuthentication: post", "clientAuthentication post needs a secret"),
        ("clientAuthentication: privateKeyJwt", "clientAuthentication privateKeyJwt needs a key"),
        (
            "clientAuthentication: privateKeyJwt, privateKeyFile: k, clientSecretFile: s",
            "clientSecretFile: clientAuthentication privateKeyJwt uses no secret",
        ),
        ("clientSecretFile: s, privateKeyFile: k", "privateKeyFile is for clientAuthentication privateKeyJwt"),
        ("clientSecretFile: s, algorithm: RS256", "algorithm is for clientAuthentication privateKeyJwt"),
        ("clientSecretFile: s, keyId: k", "keyId is for clientAuthentication privateKeyJwt"),
        ("clientSecretFile: s, assertionAudience: a", "assertionAudience is for clientAuthentication privateKeyJwt"),
        ("clientSecretFile: s, clientSecret: hunter2", "unknown key"),
        ("clientAuthentication: privateKeyJwt, privateKeyFile: k, algorithm: HS256", "'HS256' is not known here"),
        ("clientAuthentication: none, clientSecretFile: s", "must be 'basic', 'post' or 'privateKeyJwt'"),
    ],
)
def test_wrong_client_authentication(problems: Callable[..., list[str]], client: str, message: str) -> None:
    """What the way to authenticate needs must be there, and nothing else; a secret itself can't be written."""
    [problem] = problems(providers(entry(client=client)))
    assert message in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("introspection", "rest", "message"),
    [
        ("cacheMaxAge: 2h", "", "must be from 1s to 1h"),
        ("cacheMaxAge: 0s", "", "must be from 1s to 1h"),
        ("inactiveMaxAge: 10m", "", "must be from 1s to 5m"),
        ("maxConcurrent: 0", "", "must be from 1 to 1000"),
        ("timeout: 10s", "", "must be from 10ms to 5s"),
        ("missingSubject: username", "", "must be 'refuse' or 'clientId'"),
        ("audiences: []", "", "must not be empty"),
        ("audiences: ['*']", "", "audiences ['*'] is dangerous: a token that was issued for any other service"),
        ("", "fetch: {tokenFile: t}", "the endpoint is told who asks by clientAuthentication"),
    ],
)
def test_wrong_values(problems: Callable[..., list[str]], introspection: str, rest: str, message: str) -> None:
    """What would weaken the check of tokens, or do nothing, is refused."""
    [problem] = problems(providers(entry(introspection, rest)))
    assert message in problem


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("http://a.example/", "over plain http anyone on the way can read the tokens and our secret"),
        ("https://u:hunter2@a.example/", "endpoint must not hold a user name or a password"),
        ("file:///etc/passwd", "endpoint is not an https URL"),
    ],
)
def test_wrong_endpoints(problems: Callable[..., list[str]], endpoint: str, message: str) -> None:
    """T61: tokens are sent over TLS, unless somebody takes that on by name."""
    text = providers(entry()).replace(ENDPOINT, endpoint)
    [problem] = problems(text)
    assert message in problem
    assert "hunter2" not in problem


def test_plain_http_by_name(load: Callable[..., Any]) -> None:
    """Plain http can be accepted for one provider, inside a mesh whose sidecars encrypt."""
    text = providers(entry(rest="fetch: {allowHttp: true}")).replace("https", "http")
    assert load(text).providers[0].introspection.endpoint.startswith("http:")


def test_any_audience_by_name(load: Callable[..., Any]) -> None:
    """The danger of any audience can be taken on, at the top of the file."""
    text = providers(entry("audiences: ['*']")) + "acceptRisks: [any-audience]"
    assert load(text).providers[0].introspection.audiences == ("*",)


def test_two_kinds(problems: Callable[..., list[str]]) -> None:
    """An entry that names two kinds is told both."""
    [problem] = problems(providers(entry(rest=f"jwt: {{issuer: '{ENDPOINT}', audiences: [x]}}")))
    assert "is of one kind, not both jwt and introspection" in problem


def test_one_issuer_has_one_provider(problems: Callable[..., list[str]]) -> None:
    """T31: whether a JWT is verified or introspected must not be chance."""
    jwt = "- {name: b, jwt: {issuer: 'https://a.example/', audiences: [x]}, roles: {mayGrant: []}}\n"
    found = problems(providers(entry("issuer: 'https://a.example/'", "roles: {mayGrant: []}"), jwt))
    assert ["is already there" in problem for problem in found] == [True]


SHARED = [
    "headers: [{name: x-token}]",
    "headers: [{name: authorization, prefix: 'bearer   '}]",
    "cookies: [t]",
    "query: [t]",
    "websocketProtocol: bearer.",
]


@pytest.mark.parametrize("places", SHARED)
def test_two_endpoints_do_not_share_a_place(
    load: Callable[..., Any], problems: Callable[..., list[str]], places: str
) -> None:
    """T64: an opaque token does not say whose it is, so two endpoints that read one place are refused."""
    roles = "roles: {mayGrant: []}"
    own, other = f"{roles}, from: {{{places}}}", f"{roles}, from: {{headers: [{{name: x-other}}]}}"
    assert load(providers(entry(rest=own), entry(rest=other, name="b")))
    spelled = own.replace("'bearer   '", "'Bearer '")
    [problem] = problems(providers(entry(rest=own), entry(rest=spelled, name="b")))
    assert "providers 'a' and 'b' both introspect what is in the" in problem
    assert problem.startswith("3:")
