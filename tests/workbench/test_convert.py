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
from tests.workbench.istio_oracle import TRUST_DOMAINS, Asked, allowed

HERE = Scope(workloads=False, trust_domains=TRUST_DOMAINS)
SETTINGS = PolicySettings(providers=frozenset({"corporate"}))


def authorization(spec: Any, name: str = "a", namespace: str = "foo") -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def converted(*objects: Any, scope: Scope = HERE) -> Converted:
    text = "---\n".join(json.dumps(one) + "\n" for one in objects)
    return convert((text, "istio.yaml"), group="security.example.com", scope=scope)


def snapshot(made: Converted) -> Snapshot:
    assert made.problems == ()
    texts = [PolicyText(f"{number}.yaml", write_document(policy)) for number, (_, policy) in enumerate(made.policies)]
    return load(texts, SETTINGS, 1)


def passes(policies: Snapshot, asked: Asked) -> bool:
    request = _request(asked)
    identity = None
    if asked.issuer:
        claims = VerifiedClaims({"iss": asked.issuer, "sub": asked.subject, **asked.claims})
        identity = Identity(asked.subject, asked.issuer, "corporate", frozenset(), claims=claims)
    return isinstance(policies.decide(request, policies.select(request), identity), Allow)


def _request(asked: Asked) -> Request:
    headers = {name: (value,) for name, value in asked.headers.items()}
    http = HttpAttributes("", asked.method, asked.path, asked.host, "https", "HTTP/2", headers)
    made = canonical_request(
        AttributeContext(Peer(asked.source_ip, 1, asked.principal), Peer("192.0.2.9", asked.port), 0, http),
        RequestRules(),
    )
    assert isinstance(made, Request), made
    assert made.client_ip == ip_address(asked.source_ip)
    return made


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


PATHS = some("/a", "/a/", "/a*", "/a/*", "*.png", "*", "*a*", "/a/{*}", "/a/{*}/c", "/a/{**}", "/{**}/b", "/%61/{*}")
HOSTS = some(
    "a.example.com", "A.example.com", "a.example.com:*", "*.example.com", "*example.com", "b*", "*", "a.example.com:443"
)
METHODS = some("GET", "PUT", "P*", "*", "*T")
PRINCIPALS = some(
    "td/ns/shop/sa/web",
    "old/ns/shop/sa/*",
    "cluster.local/ns/shop/sa/web",
    "cluster.local/ns/shop/*",
    "*d/ns/shop/sa/web",
    "td/ns/shop/*",
    "*/sa/web",
    "*",
    "td/ns/sh*",
    "*b",
    "spiffe://td/ns/shop/sa/web",
)
DOMAINS = some("td", "old", "t*", "*d", "*", "other", "cluster.local")
NAMESPACES = some("shop", "sh*", "s*r", "other")
ACCOUNTS = some("web", "shop/web", "other/b", "sa/x")
CALLERS = some(
    "https://i/alice", "https://i/*", "*", "*/bob", "*bob", "https://i*", "https://i/al*", "alice", "*/i/bob"
)
BLOCKS = some("192.0.2.0/24", "10.0.0.0/8", "192.0.2.1")
PORTS = some("443", "80")


def words(**lists: st.SearchStrategy[list[str]]) -> st.SearchStrategy[dict[str, list[str]]]:
    both = {name: lists[name] for name in lists} | {f"not{name[0].upper()}{name[1:]}": lists[name] for name in lists}
    return st.lists(st.sampled_from(sorted(both)), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: both[name] for name in names})
    )


SOURCES = words(
    principals=PRINCIPALS,
    namespaces=NAMESPACES,
    serviceAccounts=ACCOUNTS,
    trustDomains=DOMAINS,
    requestPrincipals=CALLERS,
    ipBlocks=BLOCKS,
    remoteIpBlocks=BLOCKS,
)
OPERATIONS = words(hosts=HOSTS, methods=METHODS, paths=PATHS, ports=PORTS)
KEYS = {
    "request.headers[X-A]": some("1", "1*", "*", "*2"),
    "request.auth.claims[groups]": some("eng", "e*", "*", "ops eng", "ops e*"),
    "request.auth.claims[org][id]": some("7"),
    "request.auth.claims[scope]": some("read", "read write", "wr*", "*"),
    "request.headers[:method]": some("GET"),
    "request.headers[Host]": some("a.example.com"),
    "request.auth.principal": CALLERS,
    "source.ip": BLOCKS,
    "destination.port": PORTS,
    "source.namespace": NAMESPACES,
    "source.principal": PRINCIPALS,
    "source.serviceAccount": ACCOUNTS,
    "source.trustDomain": DOMAINS,
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
    host=st.sampled_from(["a.example.com", "b.example.com", "example.com", "a.example.com:8443"]),
    path=st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b=", "/a/b/c", "/ab", "/x.png", "/xy/b", "/xa*", "/*a"]),
    method=st.sampled_from(["GET", "PUT", "POST"]),
    port=st.sampled_from([443, 80]),
    principal=st.sampled_from(
        [
            "",
            "spiffe://td/ns/shop/sa/web",
            "spiffe://td/ns/foo/sa/web",
            "spiffe://td/ns/other/sa/b",
            "spiffe://old/ns/shop/sa/web",
            "spiffe://cluster.local/ns/shop/sa/web",
            "spiffe://other/ns/shop/sa/web",
            "spiffe://td/ns/shop/x/y/sa/web/z",
            "web.b",
        ]
    ),
    headers=st.sampled_from([{}, {"x-a": ""}, {"x-a": "1"}, {"x-a": "12"}]),
    issuer=st.sampled_from(["", "https://i", "https://i/i"]),
    subject=st.sampled_from(["", "alice", "bob", "x/bob"]),
    claims=st.sampled_from(
        [
            {},
            {"groups": "eng"},
            {"groups": "ops eng", "scope": "read"},
            {"groups": ["ops", "eng"], "scope": "read write"},
            {"groups": 7, "org": {"id": "7"}, "scope": ["read"]},
        ]
    ),
).map(lambda asked: asked if asked.issuer else Asked(**{**vars(asked), "subject": "", "claims": {}}))


@settings(max_examples=400)
@given(st.lists(POLICIES, min_size=1, max_size=3), st.lists(ASKED, min_size=8, max_size=8))
def test_nothing_is_allowed_that_istio_would_not_allow(specs: list[Any], asked: list[Asked]) -> None:
    """And where nothing was lost, and some policy allows, both say the same, but for tokens without a subject."""
    policies = [authorization(spec, f"p{number}") for number, spec in enumerate(specs)]
    made = converted(*policies)
    ours = snapshot(made)
    codes = {loss.code for loss in made.losses}
    exact = not codes - {"any-token"} and any(spec["action"] == "ALLOW" for spec in specs)
    for one in asked:
        if "host-ports" in codes and ":" in one.host:
            continue  # the one thing that is told instead of avoided
        theirs = allowed(policies, one)
        if exact and (one.subject or not one.issuer):
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
            {"operation": {"methods": ["GET"], "paths": ["/a", "/b"], "hosts": ["x.org", "x.org:*"], "ports": ["443"]}}
        ],
    }
    made = converted(authorization({"rules": [rule]}), scope=Scope(workloads=False))
    assert (made.losses, made.problems) == ((), ())
    first, second = made.policies[0][1]["spec"]["rules"]
    assert first == {
        "name": "rule-1",
        "to": [{"hosts": ["x.org"], "methods": ["GET"], "paths": ["/a", "/b"], "ports": [443]}],
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
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
    )
    assert made.policies == ()
    assert [loss.code for loss in made.losses] == ["not-converted"] * 2


def test_a_policy_that_delegates_is_no_part_to_leave_out() -> None:
    """Another authorizer may deny what we would allow; only the user knows whether it is this one."""
    delegates = authorization({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [{}]})
    (problem,) = converted(delegates).problems
    assert "'opa'" in problem.message
    made = converted(delegates, scope=Scope(workloads=False, this_server=("opa",)))
    assert (made.policies, made.problems, made.losses) == ((), (), ())


@pytest.mark.parametrize("written", ["true", "True", "1", "t"])
def test_a_dry_run_stays_one(written: str) -> None:
    """As shadow mode: it allows nobody, and denies nobody."""
    policy = authorization({"rules": [{}]})
    policy["metadata"]["annotations"] = {"istio.io/dry-run": written}
    made = converted(policy, authorization({"rules": [{"to": [{"operation": {"paths": ["/a"]}}]}]}, "b"))
    assert made.policies[0][1]["spec"]["mode"] == "Shadow"
    assert not passes(snapshot(made), Asked(path="/b"))
    assert passes(snapshot(made), Asked(path="/a"))


REFUSED: list[tuple[Any, str]] = [
    ({"rules": [None]}, "spec.rules[0] must be a mapping"),
    ({"action": "deny", "rules": [{}]}, "spec.action must be 'ALLOW', 'DENY', 'AUDIT' or 'CUSTOM'"),
    ({"rules": [{"form": []}]}, "unknown key 'spec.rules[0].form'"),
    ({"rules": [{"from": []}]}, "spec.rules[0].from must not be empty"),
    ({"rules": [{"from": [{"source": {}}]}]}, "`source` is empty"),
    ({"rules": [{"to": [{"operation": {"paths": []}}]}]}, "`operation` is empty"),
    ({"rules": [{"to": [{"operation": {"new": ["a"]}}]}]}, "unknown key 'spec.rules[0].to[0].operation.new'"),
    ({"rules": [{"to": [{"operation": {"paths": "/a"}}]}]}, "spec.rules[0].to[0].operation.paths must be a list"),
    ({"rules": [{"to": [{"operation": {"ports": [80]}}]}]}, "operation.ports[0] must be a string"),
    (
        {"rules": [{"to": [{"operation": {"paths": ["/{*}/*"]}}]}]},
        "a segment is {*}, {**} or plain text; '*' is neither",
    ),
    ({"rules": [{"to": [{"operation": {"paths": ["/{x}"]}}]}]}, "'{x}' is neither"),
    ({"rules": [{"to": [{"operation": {"paths": ["/{**}/{*}"]}}]}]}, "{**} must be the last operator"),
    ({"rules": [{"when": [{"key": "source.ip"}]}]}, "a condition needs `values` or `notValues`"),
    ({"selector": {"matchLabel": {"app": "a"}}}, "unknown key 'spec.selector.matchLabel'"),
    ({"rulez": []}, "unknown key 'spec.rulez'"),
]


@pytest.mark.parametrize(("spec", "told"), REFUSED)
def test_what_istio_refuses_is_refused(spec: Any, told: str) -> None:
    """A misspelled restriction would otherwise be none, with the place and the name that was meant."""
    made = converted(authorization(spec))
    assert made.policies == ()
    assert told in " ".join(problem.message for problem in made.problems)
    assert all(problem.where.line == 1 and problem.where.column > 1 for problem in made.problems)


def test_an_object_without_namespace_is_for_nobody_knows_which_workloads() -> None:
    """So it is given one, or refused where workloads count."""
    nowhere = authorization({"rules": [{}]}, namespace="")
    (problem,) = converted(nowhere, scope=Scope()).problems
    assert "has no namespace" in problem.message
    made = converted(nowhere, scope=Scope(namespace="foo"))
    assert made.policies[0][1]["metadata"]["namespace"] == "foo"
    assert made.policies[0][1]["spec"]["targets"] == [{"context": {"namespace": "foo"}}]
    assert converted(nowhere).problems == ()


ATTACKS: list[tuple[Any, Asked]] = [
    (
        {"from": [{"source": {"principals": ["cluster.local/ns/shop/*"]}}]},
        Asked(principal="spiffe://td/ns/shop/sa/web"),
    ),
    ({"from": [{"source": {"notPrincipals": ["td/ns/shop/sa/web"]}}]}, Asked(principal="spiffe://old/ns/shop/sa/web")),
    (
        {"when": [{"key": "request.auth.claims[groups]", "values": ["ops eng"]}]},
        Asked(issuer="https://i", subject="a", claims={"groups": "ops eng"}),
    ),
    (
        {"when": [{"key": "request.auth.claims[a[b][c]", "values": ["x"]}]},
        Asked(issuer="https://i", subject="a", claims={"a[b": {"c": "x"}}),
    ),
    ({"from": [{"source": {"serviceAccounts": ["web"]}}]}, Asked(principal="spiffe://td/ns/evil/sa/web")),
    ({"from": [{"source": {"serviceAccounts": ["shop/*"]}}]}, Asked(principal="spiffe://td/ns/shop/sa/web")),
    ({"from": [{"source": {"principals": ["*b"]}}]}, Asked(principal="evil.b")),
    (
        {"from": [{"source": {"principals": ["spiffe://td/ns/shop/sa/web"]}}]},
        Asked(principal="spiffe://td/ns/shop/sa/web"),
    ),
    (
        {"from": [{"source": {"requestPrincipals": ["*/bob"]}}]},
        Asked(issuer="https://i", subject="x/bob"),
    ),
    (
        {"from": [{"source": {"requestPrincipals": ["https://i/*"]}}]},
        Asked(issuer="https://i/evil", subject="bob"),
    ),
    ({"from": [{"source": {"requestPrincipals": ["*"]}}]}, Asked(issuer="https://i", subject="")),
    (
        {"when": [{"key": "request.auth.claims[scope]", "values": ["read write"]}]},
        Asked(issuer="https://i", subject="a", claims={"scope": "read write"}),
    ),
    (
        {"when": [{"key": "request.auth.claims[groups]", "notValues": ["eng"]}]},
        Asked(issuer="https://i", subject="a", claims={"groups": "ops eng"}),
    ),
    ({"when": [{"key": "request.headers[:method]", "notValues": ["GET"]}]}, Asked()),
    ({"when": [{"key": 'request.headers["x-a"]', "values": ["1"]}]}, Asked(headers={"x-a": "1"})),
    ({"to": [{"operation": {"paths": ["*a*"]}}]}, Asked(path="/*a/b")),
]


@pytest.mark.parametrize(("rule", "asked"), ATTACKS)
def test_what_istio_reads_otherwise_than_it_looks_is_not_allowed(rule: Any, asked: Asked) -> None:
    """Each of these lists says less in Istio than somebody might think."""
    assert not passes(snapshot(converted(authorization({"rules": [rule]}))), asked)


HOLES: list[tuple[Any, Asked]] = [
    ({"from": [{"source": {"principals": ["td/ns/shop/sa/web"]}}]}, Asked(principal="spiffe://old/ns/shop/sa/web")),
    ({"from": [{"source": {"trustDomains": ["td"]}}]}, Asked(principal="spiffe://old/ns/shop/sa/web")),
    ({"to": [{"operation": {"paths": ["/%61/{*}"]}}]}, Asked(path="/%61/b")),
    ({"to": [{"operation": {"paths": ["*x*"]}}]}, Asked(path="/ax*")),
    ({"when": [{"key": "request.headers[x-a]", "values": ["*"]}]}, Asked(headers={"x-a": ""})),
    (
        {"when": [{"key": "request.auth.claims[scope]", "values": ["admin"]}]},
        Asked(issuer="https://i", subject="a", claims={"scope": "read admin"}),
    ),
    (
        {"when": [{"key": "request.auth.claims[groups]", "values": ["eng"]}]},
        Asked(issuer="https://i", subject="a", claims={"groups": "ops eng"}),
    ),
    ({"from": [{"source": {"notRequestPrincipals": ["*"]}}]}, Asked(issuer="https://i", subject="")),
    ({"from": [{"source": {"namespaces": ["s*r"]}}]}, Asked(principal="spiffe://td/ns/shop/x/other/sa/web")),
    ({"from": [{"source": {"serviceAccounts": ["shop/web"]}}]}, Asked(principal="spiffe://td/ns/shop/k/v/sa/web/z")),
    (
        {"from": [{"source": {"notPrincipals": ["spiffe://td/ns/shop/sa/web"]}}]},
        Asked(principal="spiffe://td/ns/shop/sa/web"),
    ),
]


@pytest.mark.parametrize(("rule", "asked"), HOLES)
def test_what_istio_denies_is_denied(rule: Any, asked: Asked) -> None:
    """Also where Istio's reading is wider than it looks, or may be configured to be."""
    anybody = authorization({"rules": [{}]})
    denies = authorization({"action": "DENY", "rules": [rule]}, "b")
    assert passes(snapshot(converted(anybody)), asked)
    assert not passes(snapshot(converted(anybody, denies)), asked)


def test_the_trust_domain_of_the_mesh_stands_for_cluster_local() -> None:
    """Istio puts it there itself."""
    rule = {"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/web"]}}]}
    made = converted(authorization({"rules": [rule]}), scope=Scope(workloads=False, trust_domains=("example.org",)))
    assert passes(snapshot(made), Asked(principal="spiffe://example.org/ns/shop/sa/web"))
    assert not passes(snapshot(made), Asked(principal="spiffe://cluster.local/ns/shop/sa/web"))


def request_authentication(name: str, issuer: str, labels: dict[str, str], namespace: str = "foo") -> dict[str, Any]:
    """With one issuer."""
    spec = {"selector": {"matchLabels": labels}, "jwtRules": [{"issuer": issuer, "audiences": ["x"]}]}
    meta = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": meta,
        "spec": spec,
    }


def test_tokens_count_only_where_istio_looks_at_them() -> None:
    """A token of an issuer that is for other workloads would open this one."""
    web = {"selector": {"matchLabels": {"app": "web", "v": "1"}}, "rules": [{}]}
    made = converted(
        authorization(web),
        request_authentication("ours", "https://a", {"app": "web"}),
        request_authentication("mesh", "https://b", {}, "istio-system"),
        request_authentication("theirs", "https://c", {"app": "other"}),
        request_authentication("far", "https://d", {}, "bar"),
        scope=Scope(),
    )
    assert made.policies[0][1]["spec"]["authentication"] == {"providers": ["mesh", "ours"], "optional": True}
    assert "fewer-tokens" in [loss.code for loss in made.losses]


def test_where_istio_looks_at_no_token_none_counts() -> None:
    """Only callers without one are allowed, as for all that Istio knows everybody is."""
    made = converted(
        authorization({"rules": [{}]}), request_authentication("far", "https://d", {}, "bar"), scope=Scope()
    )
    spec = made.policies[0][1]["spec"]
    assert [rule["role"] for rule in spec["rules"]] == ["anonymous"]


def test_a_token_that_istio_does_not_look_at_is_no_excuse() -> None:
    """A denial of all who have no token denies those with one of an issuer that is not for this workload."""
    denies = {"action": "DENY", "rules": [{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}]}
    policies = [authorization(denies), authorization({"rules": [{}]}, "b")]
    far = request_authentication("far", "https://d", {}, "bar")
    made = converted(*policies, far, request_authentication("corporate", "https://i", {}), scope=Scope(workloads=True))
    (rule,) = made.policies[0][1]["spec"]["deny"]
    assert 'identity.provider in ["corporate"]' in rule["when"]


def test_tokens_of_whoever_count_where_nobody_says_whose() -> None:
    """Which is told: in a mesh without RequestAuthentication none does."""
    rule = {"from": [{"source": {"requestPrincipals": ["*"]}}]}
    assert [loss.code for loss in converted(authorization({"rules": [rule]})).losses] == ["any-token"]
    told = converted(authorization({"rules": [rule]}), request_authentication("corporate", "https://i", {}))
    assert told.policies[0][1]["spec"]["authentication"] == {"providers": ["corporate"]}


@pytest.mark.parametrize("kind", ["List", "AuthorizationPolicyList"])
def test_lists_of_objects_are_read(kind: str) -> None:
    """As kubectl prints them, and as the API server has them, where the objects don't say their kind."""
    items = [authorization({"rules": [{}]}), authorization({}, "b")]
    version = "v1"
    if kind != "List":
        version = items[0]["apiVersion"]
        items = [{key: value for key, value in item.items() if key in ("metadata", "spec")} for item in items]
    made = converted({"apiVersion": version, "kind": kind, "items": items})
    assert [policy["metadata"]["name"] for _, policy in made.policies] == ["a", "b"]


def test_a_fault_in_a_list_has_its_place() -> None:
    """And the name that was meant."""
    (problem,) = converted({"kind": "List", "items": [authorization({}), authorization({"rulse": []}, "b")]}).problems
    assert (problem.message, problem.hint) == ("unknown key 'items[1].spec.rulse'", "did you mean 'rules'?")


@pytest.mark.parametrize(
    "value",
    [[], "x", {"kind": "AuthorizationPolicy"}, {**authorization({}), "apiVersion": "v2"}, authorization({"rules": 7})],
)
def test_what_is_no_object_is_a_problem(value: Any) -> None:
    """With a place."""
    made = converted(value)
    assert made.policies == ()
    assert {problem.where.file for problem in made.problems} == {"istio.yaml"}


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
