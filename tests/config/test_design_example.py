"""The example that the design publishes."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.config import Jwt

EXAMPLE = """\
listen:
  check: {address: 127.0.0.1:9000, transport: auto}   # auto | native | grpcio
  http:  {address: 127.0.0.1:8080}
  admin: {address: 127.0.0.1:8081}
check: {deadline: 150ms, maxInFlight: 512, maxMessageBytes: 262144, drainDelay: 5s, grace: 10s}
workers: 1
providers:                            # who vouches for callers: each entry is one of jwt | introspection | ...
- name: corporate                     # the name that policies and metrics use
  jwt:                                # the words are those of Istio's RequestAuthentication where it has one
    issuer: https://login.example.com/
    audiences: [orders]               # required; ["*"] is a dangerous setting
    algorithms: [RS256, ES256, EdDSA] # the default
    tokenTypes: [at+jwt, JWT, absent] # the default; ID tokens are never access tokens
    clockSkew: 60s
  from: {headers: [{name: authorization, prefix: "Bearer "}]}      # the default; cookies, query, websocketProtocol
  roles:
    claims: [roles, realm_access.roles]     # a string is a dotted path, a list is literal segments
    map: {"/platform/admins": admin}        # foreign group or role name -> our role
    mayGrant: [admin, user]
  fetch: {caFile: null, tokenFile: null, allowPrivateAddresses: false, allowHttp: false}
roles:
  includes: {admin: [user]}           # admin is also user; applied last
clientAddress: {trustedHops: 0}
request:
  {normalize: false, encodedSlash: refuse, doubleEncoding: refuse, pathParameters: refuse, methodOverride: refuse,
   caseInsensitivePaths: false, sniMustEqualHost: false}
headers: {allowed: ["x-auth-*", authorization, cookie]}    # names that policies may set or remove
policies:
  files: [policies/]                  # relative to this file
store: {url: "memory:"}               # memory: | sqlite:///var/lib/extauthz/state.db | redis://... | rediss://...
responses: {reasons: false}           # true: denied bodies name the reason
telemetry:
  traces: {exporter: none}            # none | otlp | console; a value here beats OTEL_TRACES_EXPORTER
  decisions: {sink: none}             # none | stdout | file path: one JSON object a decision
"""


def test_it_loads_as_published(load: Callable[..., Any]) -> None:
    """Words of later versions are no problem where they say what is the case; its values are what it says."""
    config = load(EXAMPLE)
    assert config.roles.includes == {"admin": ("user",)}
    [provider] = config.providers
    assert isinstance(provider.jwt, Jwt)
    assert provider.jwt.audiences == ("orders",)
    assert provider.roles.claims == (("roles",), ("realm_access", "roles"))
    assert provider.roles.map == {"/platform/admins": "admin"}
    assert provider.roles.may_grant == ("admin", "user")
    assert config.telemetry.traces.exporter == "none"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('"memory:"', '"mysql://x"', "30:14: store.url: is not a URL of a store that this version knows"),
    ],
)
def test_what_is_not_the_case_is_refused(
    problems: Callable[..., list[str]], before: str, after: str, problem: str
) -> None:
    """A setting is never accepted and ignored."""
    assert before in EXAMPLE
    [found] = problems(EXAMPLE.replace(before, after))
    assert found.startswith(problem)


def test_example_is_mostly_defaults(load: Callable[..., Any]) -> None:
    """Where the example gives a default, it is the default."""
    written, default = load(EXAMPLE), load()
    for section in ("listen", "check", "client_address", "request", "headers", "policies", "responses"):
        assert getattr(written, section) == getattr(default, section)
