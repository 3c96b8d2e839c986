"""Istio's policies as ours: the same where nothing is lost, and never more than Istio allows."""

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.check import RequestRules, canonical_request
from extauthz.documents import read_documents, write_document
from extauthz.model import Allow, AttributeContext, HttpAttributes, Identity, Peer, Request, VerifiedClaims
from extauthz.policy import PolicySettings, PolicyText, Snapshot, load
from extauthz.workbench.istio import Converted, Scope, convert
from tests.workbench.istio_oracle import Asked, allowed

HERE = Scope(workloads=False)
SETTINGS = PolicySettings(providers=frozenset({"corporate"}))


def authorization(spec: Any, name: str = "a", namespace: str = "foo") -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def converted(*objects: Any, scope: Scope = HERE) -> Converted:
    return convert(
        "---\n".join(json.dumps(one) + "\n" for one in objects), "istio.yaml", group="security.example.com", scope=scope
    )


def snapshot(made: Converted) -> Snapshot:
    assert made.problems == ()
    texts = [PolicyText(f"{number}.yaml", write_document(policy)) for number, (_, policy) in enumerate(made.policies)]
    return load(texts, SETTINGS, 1)


def passes(policies: Snapshot, asked: Asked) -> bool:
    request = _request(asked)
    identity = None
    if asked.subject:
        claims = VerifiedClaims({"iss": asked.issuer, "sub": asked.subject, **asked.claims})
        identity = Identity(asked.subject, asked.issuer, "corporate", frozenset(), claims=claims)
    return isinstance(policies.decide(request, policies.select(request), identity), Allow)


def _request(asked: Asked) -> Request:
    headers = {name: (value,) for name, value in asked.headers.items()}
    http = HttpAttributes("", asked.method, asked.path, asked.host, "https", "HTTP/2", headers)
    principal = f"spiffe://{asked.principal}" if asked.principal else ""
    made = canonical_request(
        AttributeContext(Peer(asked.source_ip, 1, principal), Peer("192.0.2.9", asked.port), 0, http), RequestRules()
    )
    assert isinstance(made, Request), made
    assert made.client_ip == ip_address(asked.source_ip)
    return made


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


PATHS = some("/a", "/a/", "/a*", "/a/*", "*.png", "*", "/a/{*}", "/a/{*}/c", "/a/{**}", "/x{**}/b")
HOSTS = some("a.example.com", "A.example.com", "*.example.com", "*example.com", "b*", "*", "a.example.com:443")
METHODS = some("GET", "PUT", "P*", "*", "*T")
PRINCIPALS = some("td/ns/shop/sa/web", "td/ns/shop/*", "*/sa/web", "*", "td/ns/sh*", "*b")
NAMESPACES = some("shop", "sh*", "other")
CALLERS = some("https://i/alice", "https://i/*", "*", "*/bob")
BLOCKS = some("192.0.2.0/24", "10.0.0.0/8", "192.0.2.1")
PORTS = some("443", "80")


def words(**lists: st.SearchStrategy[list[str]]) -> st.SearchStrategy[dict[str, list[str]]]:
    both = {name: lists[name] for name in lists} | {f"not{name[0].upper()}{name[1:]}": lists[name] for name in lists}
    return st.lists(st.sampled_from(sorted(both)), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: both[name] for name in names})
    )


SOURCES = words(
    principals=PRINCIPALS, namespaces=NAMESPACES, requestPrincipals=CALLERS, ipBlocks=BLOCKS, remoteIpBlocks=BLOCKS
)
OPERATIONS = words(hosts=HOSTS, methods=METHODS, paths=PATHS, ports=PORTS)
KEYS = {
    "request.headers[X-A]": some("1", "1*", "*", "*2"),
    "request.auth.claims[groups]": some("eng", "e*", "*"),
    "request.auth.claims[org][id]": some("7"),
    "request.auth.principal": CALLERS,
    "source.ip": BLOCKS,
    "destination.port": PORTS,
    "source.namespace": NAMESPACES,
    "source.principal": PRINCIPALS,
    "connection.sni": some("a.example.com"),
}
CONDITIONS = st.sampled_from(sorted(KEYS)).flatmap(
    lambda key: st.fixed_dictionaries(
        {"key": st.just(key)}, optional={"values": KEYS[key], "notValues": KEYS[key]}
    ).filter(lambda entry: len(entry) > 1)
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(SOURCES.map(lambda source: {"source": source}), min_size=1, max_size=2),
        "to": st.lists(OPERATIONS.map(lambda operation: {"operation": operation}), min_size=1, max_size=2),
        "when": st.lists(CONDITIONS, min_size=1, max_size=2),
    },
)
POLICIES = st.fixed_dictionaries(
    {"action": st.sampled_from(["ALLOW", "ALLOW", "DENY"])}, optional={"rules": st.lists(RULES, min_size=1, max_size=2)}
)
ASKED = st.builds(
    Asked,
    host=st.sampled_from(["a.example.com", "b.example.com", "example.com"]),
    path=st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/x.png", "/xy/b"]),
    method=st.sampled_from(["GET", "PUT", "POST"]),
    port=st.sampled_from([443, 80]),
    principal=st.sampled_from(["", "td/ns/shop/sa/web", "td/ns/other/sa/b"]),
    headers=st.sampled_from([{}, {"x-a": "1"}, {"x-a": "12"}]),
    issuer=st.just("https://i"),
    subject=st.sampled_from(["", "alice", "bob"]),
    claims=st.sampled_from([{}, {"groups": "eng"}, {"groups": ["ops", "eng"]}, {"groups": 7, "org": {"id": "7"}}]),
).map(lambda asked: asked if asked.subject else Asked(**{**vars(asked), "issuer": "", "claims": {}}))


@settings(max_examples=400)
@given(st.lists(POLICIES, min_size=1, max_size=3), st.lists(ASKED, min_size=8, max_size=8))
def test_nothing_is_allowed_that_istio_would_not_allow(specs: list[Any], asked: list[Asked]) -> None:
    """And where nothing was lost, and some policy allows, both say the same."""
    policies = [authorization(spec, f"p{number}") for number, spec in enumerate(specs)]
    made = converted(*policies)
    ours = snapshot(made)
    exact = not made.losses and any(spec["action"] == "ALLOW" for spec in specs)
    for one in asked:
        theirs = allowed(policies, one)
        if exact:
            assert passes(ours, one) is theirs, one
        elif not theirs:
            assert not passes(ours, one), one


def test_a_rule_without_a_caller_lets_callers_without_a_token_pass() -> None:
    """As Istio's does, so it becomes two of ours."""
    ours = snapshot(converted(authorization({"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]})))
    assert passes(ours, Asked())
    assert passes(ours, Asked(issuer="https://i", subject="alice"))
    assert not passes(ours, Asked(method="PUT"))


def test_a_policy_that_allows_nothing_allows_nothing() -> None:
    """An empty spec."""
    made = converted(authorization({}))
    assert [policy["spec"] for _, policy in made.policies] == [{}]
    assert not passes(snapshot(made), Asked())


def test_everything_plain_stays_in_words_that_people_read() -> None:
    """CEL only where it must be."""
    rule = {
        "from": [{"source": {"principals": ["td/ns/shop/sa/web"]}}, {"source": {"ipBlocks": ["10.1.2.3/8"]}}],
        "to": [
            {"operation": {"methods": ["GET"], "paths": ["/a", "/b"], "hosts": ["*.example.com"], "ports": ["443"]}}
        ],
    }
    made = converted(authorization({"rules": [rule]}))
    assert made.losses == ()
    first, second = made.policies[0][1]["spec"]["rules"]
    assert first == {
        "name": "rule-1",
        "to": [{"hosts": ["*.example.com"], "methods": ["GET"], "paths": ["/a", "/b"], "ports": [443]}],
        "from": [{"principals": ["spiffe://td/ns/shop/sa/web"]}, {"ipBlocks": ["10.0.0.0/8"]}],
    }
    assert second == {**first, "name": "rule-1-anonymous", "role": "anonymous"}


def test_a_policy_for_some_workloads_asks_for_their_context() -> None:
    """One that denies covers all of them."""
    spec = {"selector": {"matchLabels": {"app": "web"}}, "rules": [{}]}
    made = converted(authorization(spec), authorization({**spec, "action": "DENY"}, "b"), scope=Scope())
    allows, denies = (policy["spec"] for _, policy in made.policies)
    assert allows["targets"] == [{"context": {"app": "web", "namespace": "foo"}}]
    assert "targets" not in denies
    assert [loss.code for loss in made.losses] == ["asks-for-context", "denies-more"]
    assert converted(authorization({"rules": [{}]}, namespace="istio-system"), scope=Scope()).losses == ()


def test_hosts_can_be_given() -> None:
    """For all of them."""
    made = converted(authorization({"rules": [{}]}), scope=Scope(("a.example.com",), workloads=False))
    assert made.policies[0][1]["spec"]["targets"] == [{"hosts": ["a.example.com"]}]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"when": [{"key": "connection.sni", "values": ["a"]}]}, "left-out"),
        ({"when": [{"key": "experimental.envoy.filters.a[b]", "values": ["a"]}]}, "left-out"),
        ({"to": [{"operation": {"paths": ["/a//b"]}}]}, "left-out"),
        ({"to": [{"operation": {"hosts": ["a:80"]}}]}, "left-out"),
        ({"to": [{"operation": {"new": ["a"]}}]}, "left-out"),
        ({"from": [{"source": {"notPrincipals": ["a"]}}]}, "allows-less"),
    ],
)
def test_what_can_not_be_said_allows_less_and_denies_more(rule: Any, code: str) -> None:
    """And is told with its place, on either side."""
    (loss,) = converted(authorization({"rules": [rule]})).losses
    assert (loss.code, loss.where.line) == (code, 1)
    if code == "left-out":
        made = converted(authorization({"action": "DENY", "rules": [rule]}))
        assert [loss.code for loss in made.losses] == ["denies-more"]
        assert not passes(snapshot(made), Asked())


def test_other_actions_and_kinds_are_named() -> None:
    """They decide nothing here."""
    made = converted(
        authorization({"action": "AUDIT", "rules": [{}]}),
        authorization({"action": "CUSTOM", "rules": [{}]}),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
    )
    assert made.policies == ()
    assert [loss.code for loss in made.losses] == ["not-converted"] * 3


def test_lists_of_objects_are_read() -> None:
    """As kubectl prints them."""
    made = converted(
        {"apiVersion": "v1", "kind": "List", "items": [authorization({"rules": [{}]}), authorization({}, "b")]}
    )
    assert [policy["metadata"]["name"] for _, policy in made.policies] == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [[], "x", {"kind": "AuthorizationPolicy"}, {**authorization({}), "apiVersion": "v2"}, authorization({"rules": 7})],
)
def test_what_is_no_object_is_a_problem(value: Any) -> None:
    """With a place."""
    made = converted(value)
    assert made.policies == ()
    assert [problem.where.file for problem in made.problems] == ["istio.yaml"]


def test_jwt_rules_become_providers() -> None:
    """Audiences must be named, as ours must be."""
    rules = [
        {"issuer": "https://a", "jwksUri": "https://a/keys", "audiences": ["x"], "fromHeaders": [{"name": "X-Jwt"}]},
        {"issuer": "https://b", "outputPayloadToHeader": "x-payload", "fromCookies": ["session"]},
    ]
    made = converted(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "jwt"},
            "spec": {"jwtRules": rules},
        }
    )
    assert made.providers == (
        {
            "name": "jwt-1",
            "jwt": {"issuer": "https://a", "audiences": ["x"], "jwksUri": "https://a/keys"},
            "from": {"headers": [{"name": "x-jwt", "prefix": ""}]},
        },
        {"name": "jwt-2", "jwt": {"issuer": "https://b", "audiences": ["CHANGE-ME"]}, "from": {"cookies": ["session"]}},
    )
    assert [loss.code for loss in made.losses] == ["audiences-needed", "left-out"]


@given(
    st.recursive(
        st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_is_written_reads_back(value: Any) -> None:
    """Or is refused: never something else."""
    document = {"a": value}
    try:
        text = write_document(document)
    except ValueError:
        return
    (read,), problems = read_documents(text, "x")
    assert problems == []
    assert read.value == document
