"""``mesh`` providers: what they may say, and what could never be meant."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.app.providers import authenticator
from extauthz.app.values import policy_settings
from extauthz.identity import Authenticator
from tests.identity.issuer import FakeFetcher

GOOD = """
providers:
- name: corporate
  jwt: {issuer: https://login.example.com/, audiences: [orders]}
  roles: {mayGrant: [user]}
- name: mesh
  mesh:
    trustDomains: [cluster.local, partner.example]
    otherPrincipals: [legacy.example.com, 'O=Lab,CN=alice\\, admin']
    xfcc:
      trustedPeers: [spiffe://cluster.local/ns/edge/sa/ingress, edge.example.com]
      withoutPrincipal: false
  roles:
    map:
      spiffe://cluster.local/ns/shop/*: user
      "*/sa/admin": admin
      "*": user
      legacy.example.com: user
    mayGrant: [user, admin]
"""


def mesh(written: str, roles: str = "", rest: str = "") -> str:
    roles = f", roles: {{{roles}}}" if roles else ""
    return f"providers: [{{name: mesh, mesh: {{{written}}}{roles}{rest}}}]"


def test_it_loads_and_policies_know_its_kind(load: Callable[..., Any]) -> None:
    """Its name is one that policies may use, and the others are those of tokens."""
    config = load(GOOD)
    settings = policy_settings(config)
    assert settings.providers == {"corporate"}
    assert settings.mesh_providers == {"mesh"}
    found = authenticator(config, FakeFetcher(), lambda: 0.0)
    assert isinstance(found, Authenticator)
    assert [state.name for state in found.states()] == ["corporate", "mesh"]


def test_the_least_that_can_be_said(load: Callable[..., Any]) -> None:
    """One trust domain; the header then means nothing and nobody has a role."""
    [provider] = load(mesh("trustDomains: [cluster.local]")).providers
    assert (provider.mesh.xfcc, provider.mesh.other_principals, provider.roles.map) == (None, (), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mesh(""), "takes no callers (name your trust domain"),
        (mesh("trustDomains: [Cluster.local]"), "'Cluster.local' is not a trust domain"),
        (mesh("trustDomains: [spiffe://cluster.local]"), "is not a trust domain"),
        (mesh("trustDomains: ['*']"), "'*' is not a trust domain"),
        (mesh("otherPrincipals: ['*.example.com']"), "principals are compared as a whole"),
        (mesh("otherPrincipals: [spiffe://a/b]"), "trustDomains says which of them are taken"),
        (mesh("otherPrincipals: [SPIFFE://a/b]"), "is a SPIFFE ID"),
        (mesh("trustDomains: [a], xfcc: {trustedPeers: [spiffe://a/*]}"), "has a '*'"),
        (mesh("trustDomains: [a], xfcc: {trustedPeers: [spiffe://a]}"), "begins like a SPIFFE ID and is none"),
        (mesh("trustDomains: [a], xfcc: {}"), "says of nobody that the header counts"),
        (mesh("otherPrincipals: [gw], xfcc: {trustedPeers: [gw]}"), "'gw' is a trusted peer, and never a caller"),
        (mesh("trustDomains: [a]", "claims: [roles]"), "a certificate holds no roles"),
        (mesh("trustDomains: [a]", "unmapped: drop"), "gives no role anyway"),
        (mesh("trustDomains: [a]", rest=", from: {cookies: [x]}"), "is in no header"),
        (mesh("trustDomains: [a]", rest=", fetch: {}"), "nothing is fetched"),
        (mesh("trustDomains: [a]", "map: {web: user}"), "'web' names no callers"),
        (mesh("trustDomains: [a]", "map: {spiffe://a/ns/shop*: user}"), "stands for whole segments"),
        (mesh("trustDomains: [a]", "map: {spiffe://b/*: user}"), "would never match: 'b' is none of the trustDomains"),
        (mesh("otherPrincipals: [gw]", "map: {'*': user}"), "would never match: there are no trustDomains"),
        (
            mesh("trustDomains: [a], xfcc: {trustedPeers: [spiffe://a/gw]}", "map: {spiffe://a/gw: user}"),
            "is a trusted peer, and never a caller",
        ),
        (mesh("trustDomains: [a]", "map: {'*': anonymous}"), "role 'anonymous' can be given by nothing"),
        (mesh("trustDomains: [a], jwt: {}"), "unknown key"),
        (mesh("trustDomains: [a]", rest=", jwt: {issuer: 'https://x', audiences: [a]}"), "not both jwt and mesh"),
        (GOOD + "- {name: other, mesh: {trustDomains: [partner.example]}, roles: {mayGrant: []}}", "already there"),
        (
            GOOD + "- {name: other, mesh: {otherPrincipals: [legacy.example.com]}, roles: {mayGrant: []}}",
            "already there",
        ),
        (GOOD + "- {name: other, mesh: {trustDomains: [c]}}", "needs roles.mayGrant"),
    ],
)
def test_what_could_never_be_meant_is_told(problems: Callable[..., list[str]], text: str, message: str) -> None:
    """Each mistake once, with its place."""
    [problem] = problems(text)
    assert message in problem
