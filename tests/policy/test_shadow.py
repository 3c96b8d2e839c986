"""Shadow mode: policies and rules that are judged and told, and never act."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.model import Allow, Deny, Identity, Reason, Request, ShadowVerdict
from extauthz.policy import Snapshot

LoadSpecs = Callable[..., Snapshot]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]

USERS = {"rules": [{"name": "users", "role": "user"}]}


def told(snapshot: Snapshot, request: Request, identity: Identity | None) -> dict[str, str]:
    """The shadow rules that match, with what the decision would be."""
    found = snapshot.shadow_rules(request, snapshot.select(request), identity)
    return {shadow.rule: shadow.verdict.reason.word for shadow in found}


def test_a_shadow_policy_covers_nothing_and_sets_no_header(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """With shadow policies alone every request is denied as if there were none."""
    spec: dict[str, Any] = USERS | {"mode": "Shadow", "response": {"headers": {"x-auth-subject": "identity.subject"}}}
    snapshot = load_specs({"a": spec})
    request = make_request()
    assert not snapshot.select(request)
    assert snapshot.owned_headers == ()
    assert snapshot.decide(request, snapshot.select(request), make_identity("user")) == Deny(Reason.NO_POLICY)


def test_a_shadow_policy_is_judged_as_the_only_one(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """The deny of a policy in force is no part of its verdict."""
    snapshot = load_specs({"a": {"deny": [{}]}, "b": USERS | {"mode": "Shadow"}, "c": {"mode": "Shadow", "deny": [{}]}})
    request = make_request()
    alone = {one.policies[0].name: one for one in snapshot.shadows_of(request)}
    assert list(alone) == ["b", "c"]
    verdicts = {
        name: one.decide(request, one.select(request), make_identity("user")).reason.word for name, one in alone.items()
    }
    assert verdicts == {"b": "allowed", "c": "denied-by-rule"}


def test_a_shadow_policy_tells_of_requests_that_it_covers(load_specs: LoadSpecs, make_request: MakeRequest) -> None:
    """Its targets are those of any policy."""
    snapshot = load_specs({"a": USERS | {"mode": "Shadow", "targets": [{"hosts": ["a.example.com"]}]}})
    assert snapshot.shadows_of(make_request()) == ()
    assert len(snapshot.shadows_of(make_request(host="a.example.com"))) == 1


def test_a_shadow_policy_may_differ_from_the_one_in_force_in_a_header(load_specs: LoadSpecs) -> None:
    """That is what it is there for: no conflict is found between the two."""
    load_specs(
        {
            "a": USERS | {"response": {"headers": {"x-auth-who": "identity.subject"}}},
            "b": USERS | {"mode": "Shadow", "response": {"headers": {"x-auth-who": "identity.issuer"}}},
        }
    )


@pytest.mark.parametrize("word", ["deny", "rules"])
def test_a_shadow_rule_changes_no_verdict(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity, word: str
) -> None:
    """Neither a deny nor a rule that allows."""
    plain = load_specs({"a": USERS})
    spec: dict[str, Any] = {"rules": list(USERS["rules"])}
    spec.setdefault(word, []).append({"name": "tried", "role": "guest", "shadow": True})
    tried = load_specs({"a": spec})
    for roles in (["user"], ["guest"], ["user", "guest"]):
        identity, request = make_identity(*roles), make_request()
        assert tried.decide(request, tried.select(request), identity) == plain.decide(
            request, plain.select(request), identity
        )


def test_a_shadow_deny_tells_whom_it_would_deny(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """And nobody else; a condition that errs would deny as well."""
    snapshot = load_specs(
        {
            "a": USERS
            | {
                "deny": [
                    {"name": "guests", "role": "guest", "shadow": True},
                    {"name": "tenants", "when": "claims.nothing == 'x'", "shadow": True},
                ]
            }
        }
    )
    assert told(snapshot, make_request(), make_identity("user", "guest")) == {
        "guests": "denied-by-rule",
        "tenants": "condition-error",
    }
    assert told(snapshot, make_request(), make_identity("user", claims={"nothing": "y"})) == {}


def test_a_shadow_rule_tells_whom_it_would_allow(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """A deny in force would still deny."""
    guests = {"name": "guests", "role": "guest", "shadow": True}
    snapshot = load_specs(
        {"a": {"rules": [guests], "deny": [{"name": "no-internals", "to": [{"paths": ["/internal/**"]}]}]}}
    )
    guest = make_identity("guest")
    assert told(snapshot, make_request(), guest) == {"guests": "allowed"}
    assert told(snapshot, make_request(path="/internal/x"), guest) == {"guests": "denied-by-rule"}
    assert told(snapshot, make_request(), make_identity("user")) == {}
    assert told(snapshot, make_request(), None) == {}


def test_a_shadow_rule_counts_for_callers_of_its_policy(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """As it would in force."""
    rules = {"authentication": {"providers": ["partner"]}, "rules": [{"role": "user", "shadow": True}]}
    snapshot = load_specs({"a": rules})
    assert told(snapshot, make_request(), make_identity("user")) == {}
    assert told(snapshot, make_request(), make_identity("user", provider="partner")) == {"rules[0]": "allowed"}


def test_verdicts_name_policy_and_rule(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """So that two of them can be told apart."""
    snapshot = load_specs({"a": {"rules": [{"name": "guests", "role": "guest", "shadow": True}]}})
    request = make_request()
    found = snapshot.shadow_rules(request, snapshot.select(request), make_identity("guest"))
    assert found == (ShadowVerdict("a", "guests", Allow("a", "guests")),)
