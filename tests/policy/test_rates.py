"""Which rate an allowed request is charged to, and with whom it is counted together."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from extauthz.model import Allow, Charge, Identity, Rate, Request
from extauthz.policy import Snapshot

LoadSpecs = Callable[..., Snapshot]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]


def allowed(snapshot: Snapshot, request: Request, identity: Identity | None) -> Allow:
    verdict = snapshot.decide(request, snapshot.select(request), identity)
    assert isinstance(verdict, Allow), verdict
    return verdict


def charge(snapshot: Snapshot, request: Request, identity: Identity | None) -> Charge:
    found = allowed(snapshot, request, identity).charge
    assert found is not None
    return found


def test_the_smallest_policy_gives_each_role_its_rate(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """As it is written."""
    snapshot = load_specs(
        {
            "a": {
                "rules": [
                    {"role": "admin", "maxRequestsPerMinute": 1000},
                    {"role": "user", "maxRequestsPerMinute": 100},
                ]
            }
        }
    )
    request = make_request()
    assert charge(snapshot, request, make_identity("admin")).rate == Rate(1000)
    assert charge(snapshot, request, make_identity("user")).rate == Rate(100)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_of_several_rules_the_one_with_the_highest_rate_is_charged(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity, order: list[int]
) -> None:
    """Whatever the order of rules and policies."""
    rules = [{"name": f"r{rate}", "role": "user", "maxRequestsPerMinute": rate} for rate in (10, 1000, 100)]
    one = load_specs({"a": {"rules": [rules[n] for n in order]}})
    many = load_specs({f"p{place}": {"rules": [rules[n]]} for place, n in enumerate(order)})
    for snapshot in (one, many):
        assert charge(snapshot, make_request(), make_identity("user")).rule == "r1000"


@pytest.mark.parametrize("free", [{}, {"maxRequestsPerMinute": 1, "rateShadow": True}])
def test_a_rule_without_a_rate_is_above_all_rates(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity, free: dict[str, Any]
) -> None:
    """And so is one whose rate is in shadow mode: it is as if it had none."""
    rules = [{"name": "rated", "role": "user", "maxRequestsPerMinute": 9}, {"name": "free", "role": "user", **free}]
    found = allowed(load_specs({"a": {"rules": rules}}), make_request(), make_identity("user"))
    assert found.rule == "free"
    assert found.charge is None or found.charge.shadow


def test_a_key_stands_for_policy_rule_provider_and_subject(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """Not for the roles nor the rate: a change of either resets nobody's count."""

    def key(rate: int = 5, policy: str = "a", rule: str = "r", **identity: Any) -> bytes:
        snapshot = load_specs({policy: {"rules": [{"name": rule, "role": "user", "maxRequestsPerMinute": rate}]}})
        roles = identity.pop("roles", ("user",))
        return charge(snapshot, make_request(), make_identity(*roles, **identity)).key

    assert key() == key(rate=7) == key(roles=("user", "admin"))
    others = [key(policy="b"), key(rule="s"), key(provider="partner"), key(subject="bob")]
    assert len({key(), *others}) == 5


def test_callers_can_be_counted_by_address(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """One client has all addresses of an IPv6 /64."""
    rule = {"role": "user", "maxRequestsPerMinute": 5, "per": "address"}
    snapshot = load_specs({"a": {"rules": [rule]}})

    def key(address: str, subject: str = "alice") -> bytes:
        request = make_request(client_ip=ip_address(address))
        return charge(snapshot, request, make_identity("user", subject=subject)).key

    assert key("203.0.113.7") == key("203.0.113.7", "bob") != key("203.0.113.8")
    assert key("2001:db8::1") == key("2001:db8::ffff:2") != key("2001:db8:0:1::1")


def test_callers_can_be_counted_by_role(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """All callers of a role share its rate; whoever has two of them uses the one that the rule names first."""
    rule = {"roles": ["user", "partner"], "maxRequestsPerMinute": 5, "per": "role"}
    snapshot = load_specs({"a": {"rules": [rule]}})
    keys = {
        roles: charge(snapshot, make_request(), make_identity(*roles, subject=str(roles))).key
        for roles in (("user",), ("partner",), ("partner", "user"))
    }
    assert keys["user",] == keys["partner", "user"] != keys["partner",]


def test_callers_can_be_counted_by_a_claim(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """Values of two types are two; callers without the claim are counted together, and not as anybody's."""
    rule = {"role": "user", "maxRequestsPerMinute": 5, "per": "claim:org.id"}
    snapshot = load_specs({"a": {"rules": [rule]}})

    def key(subject: str, claims: dict[str, Any]) -> bytes:
        return charge(snapshot, make_request(), make_identity("user", subject=subject, claims=claims)).key

    assert key("a", {"org": {"id": "1"}}) == key("b", {"org": {"id": "1"}}) != key("a", {"org": {"id": 1}})
    assert key("a", {}) == key("b", {"org": "x"}) == key("c", {"org": {"id": ["1"]}}) != key("a", {"org": {"id": ""}})


def test_callers_without_credentials_are_counted_by_address(load_specs: LoadSpecs, make_request: MakeRequest) -> None:
    """One of them must not use up the rate of all."""
    rule = {"role": "anonymous", "maxRequestsPerMinute": 5}
    snapshot = load_specs({"a": {"authentication": {"optional": True}, "rules": [rule]}})
    keys = [charge(snapshot, make_request(client_ip=ip_address(f"203.0.113.{n}")), None).key for n in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]
    assert charge(snapshot, make_request(client_ip=None), None).key not in keys


def test_what_happens_without_the_store_is_the_policys_word(
    load_specs: LoadSpecs, make_request: MakeRequest, make_identity: MakeIdentity
) -> None:
    """Deny is the default."""
    rules = {"rules": [{"role": "user", "maxRequestsPerMinute": 5}]}
    request, identity = make_request(), make_identity("user")
    assert not charge(load_specs({"a": rules}), request, identity).local_without_store
    local = rules | {"rateLimits": {"whenStoreFails": "local"}}
    assert charge(load_specs({"a": local}), request, identity).local_without_store
