"""The example that the design publishes."""

from collections.abc import Callable
from typing import Any

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

LATER = ("  http:  {address: 127.0.0.1:8080}\n", " maxInFlight: 512,", "workers: 1\n", 'store: {url: "memory:"}')


def test_later_words(problems: Callable[..., list[str]]) -> None:
    """As published, with the words of later versions, it has exactly their problems, each at its word."""
    assert [problem.split(" is not available")[0] for problem in problems(EXAMPLE)] == [
        "3:3: listen.http",
        "5:26: check.maxInFlight",
        "6:1: workers",
        "30:1: store",
    ]


def test_loads(load: Callable[..., Any]) -> None:
    """Without them it loads, and its values are what it says."""
    text = EXAMPLE
    for word in LATER:
        assert word in text
        text = text.replace(word, "")
    config = load(text)
    assert config.roles.includes == {"admin": ("user",)}
    [provider] = config.providers
    assert isinstance(provider.jwt, Jwt)
    assert provider.jwt.audiences == ("orders",)
    assert provider.roles.claims == (("roles",), ("realm_access", "roles"))
    assert provider.roles.map == {"/platform/admins": "admin"}
    assert provider.roles.may_grant == ("admin", "user")
    assert config.telemetry.traces.exporter == "none"


def test_example_is_mostly_defaults(load: Callable[..., Any]) -> None:
    """Where the example gives a default, it is the default."""
    text = EXAMPLE
    for word in LATER:
        text = text.replace(word, "")
    written, default = load(text), load()
    for section in ("listen", "check", "client_address", "request", "headers", "policies", "responses"):
        assert getattr(written, section) == getattr(default, section)
