"""How policies combine: targets, deny before rules, who is accepted, and which reason a denial gives."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.model import Allow, Deny, Identity, Peer, Reason, Request
from extauthz.policy import PolicyText, Snapshot, empty, load

Decide = Callable[..., Allow | Deny]
LoadSpecs = Callable[..., Snapshot]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]

USERS = {"rules": [{"role": "user"}]}


def ask(snapshot: Snapshot, request: Request, identity: Identity | None = None) -> Allow | Deny:
    return snapshot.decide(request, snapshot.select(request), identity)


def refused(verdict: Allow | Deny) -> tuple[Reason, str, str]:
    assert isinstance(verdict, Deny)
    return verdict.reason, verdict.policy, verdict.rule


def test_the_empty_set_denies_everything(make_request: MakeRequest, make_identity: MakeIdentity) -> None:
    """No policy, no access; the generation is told."""
    snapshot = empty(7)
    assert (snapshot.generation, snapshot.policies, snapshot.owned_headers) == (7, (), ())
    assert not snapshot.select(make_request())
    assert refused(ask(snapshot, make_request(), make_identity("admin"))) == (Reason.NO_POLICY, "", "")


@pytest.mark.parametrize(
    ("targets", "selected"),
    [
        (None, True),
        ([{"hosts": ["orders.example.com"]}], True),
        ([{"hosts": ["ORDERS.example.com"]}], True),
        ([{"hosts": ["*.example.com"]}], True),
        ([{"hosts": ["*.com"]}], True),
        ([{"hosts": ["*"]}], True),
        ([{"hosts": ["example.com"]}], False),
        ([{"hosts": ["*.orders.example.com"]}], False),
        ([{"context": {"app": "orders"}}], True),
        ([{"context": {"app": "orders", "tier": "x"}}], False),
        ([{"hosts": ["a"], "context": {"app": "orders"}}], False),
        ([{"hosts": ["a"]}, {"context": {"app": "orders"}}], True),
        ([{"hosts": ["a", "orders.example.com"], "context": {"app": "orders"}}], True),
    ],
)
def test_targets_choose_the_requests_that_a_policy_judges(
    load_specs: LoadSpecs, make_request: MakeRequest, targets: Any, selected: bool
) -> None:
    """Entries are OR, hosts and context of one entry AND, no targets mean every request."""
    spec = USERS | ({"targets": targets} if targets else {})
    snapshot = load_specs({"a": spec, "b": {"targets": [{"hosts": ["elsewhere"]}]}})
    request = make_request(context={"app": "orders", "extra": "1"})
    assert [policy.name for policy in snapshot.select(request).policies] == (["a"] if selected else [])
    assert bool(snapshot.select(request)) is selected


def test_a_target_with_hosts_covers_no_request_without_http(load_specs: LoadSpecs, make_request: MakeRequest) -> None:
    """A TCP connection has no host; targets by context still cover it."""
    request = make_request(http=False, context={"app": "db"})
    snapshot = load_specs(
        {
            "any-host": {"targets": [{"hosts": ["*"]}]},
            "by-context": {"targets": [{"context": {"app": "db"}}]},
            "all": {},
        }
    )
    assert [policy.name for policy in snapshot.select(request).policies] == ["all", "by-context"]


def test_a_deny_beats_every_allow(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The deny of a policy that does not even accept the caller counts, whatever another policy allows."""
    snapshot = load_specs(
        {
            "allow": USERS,
            "guard": {
                "authentication": {"providers": ["partner"]},
                "deny": [{"name": "closed", "to": [{"paths": ["/orders"]}]}],
            },
        }
    )
    verdict = ask(snapshot, make_request(), make_identity("user"))
    assert refused(verdict) == (Reason.DENIED_BY_RULE, "guard", "closed")
    assert refused(ask(snapshot, make_request())) == (Reason.DENIED_BY_RULE, "guard", "closed")
    assert isinstance(ask(snapshot, make_request(path="/x"), make_identity("user")), Allow)


def test_a_deny_with_roles_covers_callers_with_them(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """In deny, `role` narrows; `anonymous` there means callers without credentials."""
    spec: dict[str, Any] = {"authentication": {"optional": True}, "rules": [{"roles": ["user", "anonymous"]}]}
    by_role = spec | {"deny": [{"role": "banned"}]}
    assert refused(decide(by_role, make_request(), make_identity("user", "banned"))) == (
        Reason.DENIED_BY_RULE,
        "only",
        "deny[0]",
    )
    assert isinstance(decide(by_role, make_request(), make_identity("user")), Allow)
    assert isinstance(decide(by_role, make_request()), Allow)
    anonymous = spec | {"deny": [{"role": "anonymous"}]}
    assert refused(decide(anonymous, make_request())) == (Reason.DENIED_BY_RULE, "only", "deny[0]")
    assert isinstance(decide(anonymous, make_request(), make_identity("user")), Allow)


def test_rules_count_only_for_callers_that_their_policy_accepts(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """A caller of another provider gets nothing from a policy, though its role would match."""
    snapshot = load_specs({"p": USERS | {"authentication": {"providers": ["partner"]}}})
    assert isinstance(ask(snapshot, make_request(), make_identity("user", provider="partner")), Allow)
    verdict = ask(snapshot, make_request(), make_identity("user"))
    assert refused(verdict) == (Reason.NO_RULE, "", "")
    assert isinstance(verdict, Deny)
    assert "p: partner" in verdict.detail


def test_mesh_identities_count_only_where_they_are_named(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """A policy that names no providers takes any configured one, mesh entries excepted."""
    workload = make_identity("user", provider="mesh")
    assert isinstance(decide(USERS, make_request(), workload), Deny)
    named = USERS | {"authentication": {"providers": ["mesh"]}}
    assert isinstance(decide(named, make_request(), workload), Allow)
    assert isinstance(decide(named, make_request(), make_identity("user")), Deny)


def test_callers_without_credentials_match_only_rules_for_anonymous(decide: Decide, make_request: MakeRequest) -> None:
    """`optional` lets them in as role anonymous; a rule without role is not for them."""
    optional = {"authentication": {"optional": True}}
    assert isinstance(decide(optional | {"rules": [{"role": "anonymous"}]}, make_request()), Allow)
    assert refused(decide(optional | {"rules": [{}]}, make_request()))[0] is Reason.NO_CREDENTIALS
    assert refused(decide({"rules": [{"role": "anonymous"}]}, make_request()))[0] is Reason.NO_RULE


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([{"to": [{"paths": ["/orders"]}]}], Reason.NO_CREDENTIALS),
        ([{"role": "user", "when": "false"}], Reason.NO_CREDENTIALS),
        ([{"roles": ["anonymous", "user"], "when": "false"}], Reason.NO_CREDENTIALS),
        ([{"to": [{"paths": ["/x"]}]}], Reason.NO_RULE),
        ([{"from": [{"principals": ["x"]}]}], Reason.NO_RULE),
        ([{"role": "anonymous", "when": "false"}], Reason.NO_RULE),
        ([{"role": "anonymous", "when": "claims.x == 1"}], Reason.CONDITION_ERROR),
        ([{"role": "anonymous", "when": "false"}, {"to": [{"paths": ["/x"]}]}], Reason.NO_RULE),
    ],
)
@pytest.mark.parametrize("other", [{}, {"authentication": {"providers": ["partner"]}, "rules": []}])
def test_credentials_are_asked_for_only_if_they_could_help(
    load_specs: LoadSpecs, make_request: MakeRequest, rules: Any, reason: Reason, other: dict[str, Any]
) -> None:
    """401 if some rule passes to and from and asks for more than role anonymous, else 403."""
    other = {key: value for key, value in other.items() if value}
    snapshot = load_specs({"a": {"authentication": {"optional": True}, "rules": rules}, "b": other})
    assert refused(ask(snapshot, make_request()))[0] is reason


def test_credentials_can_help_by_a_policy_that_is_not_optional(
    load_specs: LoadSpecs, make_request: MakeRequest
) -> None:
    """The rules of every policy that covers the request are looked at, whatever its authentication."""
    snapshot = load_specs(
        {
            "public": {"authentication": {"optional": True}, "rules": [{"role": "anonymous", "when": "false"}]},
            "own": USERS,
        }
    )
    assert refused(ask(snapshot, make_request())) == (Reason.NO_CREDENTIALS, "own", "rules[0]")


def test_a_denial_names_the_rule_that_got_furthest(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """Along to -> from -> role -> when; of equals the first rule of the first policy by name. A rule that is about other
    requests altogether is not named.
    """
    to = {"name": "to", "to": [{"paths": ["/x"]}]}
    source = {"name": "from", "from": [{"principals": ["x"]}]}
    role = {"name": "role", "role": "admin"}
    when = {"name": "when", "when": "false"}
    error = {"name": "error", "when": "claims.missing == 1"}
    caller = make_identity("user")
    for rules, expected in (
        ([to], (Reason.NO_RULE, "")),
        ([to, source], (Reason.NO_RULE, "from")),
        ([role, to, source], (Reason.ROLE_MISSING, "role")),
        ([to, role, when], (Reason.NO_RULE, "when")),
        ([error, when], (Reason.CONDITION_ERROR, "error")),
        ([when, error], (Reason.NO_RULE, "when")),
        ([to, to | {"name": "to2"}], (Reason.NO_RULE, "")),
    ):
        verdict = decide({"rules": rules}, make_request(), caller)
        assert refused(verdict) == (expected[0], "only", expected[1])


def test_of_several_rules_that_allow_the_first_by_policy_name_is_named(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The answer does not depend on the order in which files were read."""
    specs = {"b": {"rules": [{"name": "one"}]}, "a": {"rules": [{"role": "x"}, {"name": "two"}, {"name": "three"}]}}
    for ordered in (specs, dict(reversed(specs.items()))):
        verdict = ask(load_specs(ordered), make_request(), make_identity())
        assert isinstance(verdict, Allow)
        assert (verdict.policy, verdict.rule) == ("a", "two")


def test_a_policy_without_rules_allows_nothing(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """`spec: {}` covers every request and lets none pass."""
    assert refused(decide({}, make_request(), make_identity("admin"))) == (Reason.NO_RULE, "only", "")
    assert refused(decide({}, make_request())) == (Reason.NO_RULE, "only", "")


PREFLIGHT = {"authentication": {"preflight": "allow"}, "rules": [{"role": "user"}]}


def test_a_preflight_passes_where_a_policy_lets_it(load_specs: LoadSpecs, make_request: MakeRequest) -> None:
    """It takes no header of ours along, and a plain OPTIONS request is judged like any other."""
    headers = {"response": {"headers": {"x-auth-subject": "identity.subject"}, "removeHeaders": ["cookie"]}}
    snapshot = load_specs({"b": PREFLIGHT | headers, "a": USERS})
    request = make_request(method="OPTIONS", preflight=True)
    assert ask(snapshot, request) == Allow("b", "preflight", (), ("cookie", "x-auth-subject"))
    assert refused(ask(snapshot, make_request(method="OPTIONS")))[0] is Reason.NO_CREDENTIALS


def test_a_preflight_is_judged_like_any_request_by_default(decide: Decide, make_request: MakeRequest) -> None:
    """Without `preflight: allow` it needs credentials, as the rest does."""
    assert refused(decide(USERS, make_request(method="OPTIONS", preflight=True)))[0] is Reason.NO_CREDENTIALS


def test_a_deny_stops_a_preflight(load_specs: LoadSpecs, make_request: MakeRequest) -> None:
    """Deny still applies, that of other policies included."""
    snapshot = load_specs({"a": PREFLIGHT, "b": {"deny": [{"name": "no", "to": [{"paths": ["/orders"]}]}]}})
    request = make_request(method="OPTIONS", preflight=True)
    assert refused(ask(snapshot, request)) == (Reason.DENIED_BY_RULE, "b", "no")
    assert isinstance(ask(snapshot, make_request(method="OPTIONS", preflight=True, path="/x")), Allow)


def test_a_tcp_connection_is_decided_by_port(
    decide: Decide, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """Without HTTP the peer's certificate can be the credential, and the port is what is asked for."""
    spec = {
        "authentication": {"providers": ["mesh"]},
        "rules": [{"role": "db", "to": [{"ports": [5432]}], "from": [{"principals": ["spiffe://t/ns/shop/*"]}]}],
    }
    request = make_request(
        http=False, source=Peer("10.1.2.3", 4, "spiffe://t/ns/shop/sa/a"), destination=Peer("10.9.9.9", 5432)
    )
    workload = make_identity("db", provider="mesh")
    assert isinstance(decide(spec, request, workload), Allow)
    assert refused(decide(spec, request))[0] is Reason.NO_CREDENTIALS
    assert isinstance(decide(spec, make_request(), workload), Deny)


def test_a_namespaced_policy_is_called_by_both_names(make_request: MakeRequest, settings: Any) -> None:
    """Two namespaces can hold policies of one name."""
    text = "\n---\n".join(
        f"apiVersion: security.example.com/v1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{}}"
        for namespace in ("b", "a")
    )
    snapshot = load([PolicyText("x.yaml", text)], settings, 3)
    assert [policy.name for policy in snapshot.policies] == ["a/p", "b/p"]
