"""Which caller counts for which policy, where a request shows a token, a mesh identity, or both."""

from collections.abc import Callable
from typing import Any

import pytest

from extauthz.model import Allow, Deny, Identity, Reason, Request
from extauthz.policy import Snapshot

LoadSpecs = Callable[..., Snapshot]
MakeRequest = Callable[..., Request]
MakeIdentity = Callable[..., Identity]
Shown = Identity | Deny | None

SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"
STRANGER = Deny(Reason.ISSUER_UNKNOWN, "another trust domain", provider="mesh")
UNREADABLE = Deny(Reason.CREDENTIALS_INVALID, "the header is malformed", provider="mesh")


def accepting(*providers: str, **authentication: Any) -> dict[str, Any]:
    return {"authentication": {"providers": list(providers), **authentication}}


MESH_ONLY = accepting("mesh") | {"rules": [{"role": "workload"}]}
BOTH = accepting("corporate", "mesh") | {"rules": [{"role": "user"}, {"role": "workload"}]}


@pytest.fixture
def peer(make_identity: MakeIdentity) -> Callable[..., Identity]:
    """The workload ``web`` with these roles."""

    def make(*roles: str, **changes: Any) -> Identity:
        values = {"subject": SPIFFE, "issuer": "spiffe://cluster.local", "provider": "mesh"} | changes
        return make_identity(*roles, **({"claims": {"namespace": "shop"}} | values))

    return make


@pytest.fixture
def judge(load_specs: LoadSpecs, make_request: MakeRequest) -> Callable[..., tuple[Allow | Deny, Identity | None]]:
    """The verdict of some policies, and whom it is about."""

    def decide(
        specs: dict[str, Any], identity: Identity | None, peer: Shown, **request: Any
    ) -> tuple[Allow | Deny, Identity | None]:
        snapshot = load_specs(specs)
        asked = make_request(**request)
        selection = snapshot.select(asked)
        verdict = snapshot.decide(asked, selection, identity, peer)
        return verdict, selection.caller(verdict, identity, peer)

    return decide


Judge = Callable[..., tuple[Allow | Deny, Identity | None]]
MakePeer = Callable[..., Identity]


def told(verdict: Allow | Deny) -> tuple[str, str, str]:
    return verdict.reason.word, verdict.policy, verdict.rule


def test_a_mesh_identity_counts_where_its_provider_is_named(judge: Judge, peer: MakePeer) -> None:
    """And the decision tells of it."""
    verdict, caller = judge({"a": MESH_ONLY}, None, peer("workload"))
    assert told(verdict) == ("allowed", "a", "rules[0]")
    assert caller is not None
    assert caller.subject == SPIFFE


def test_it_counts_nowhere_else(judge: Judge, peer: MakePeer) -> None:
    """Not where providers are absent, nor where others are named: there it is as if it were not there."""
    specs: list[dict[str, Any]] = [{"rules": [{}]}, accepting("corporate") | {"rules": [{}]}]
    for spec in specs:
        assert judge({"a": spec}, None, peer("workload"))[0].reason is Reason.NO_CREDENTIALS
        for bad in (STRANGER, UNREADABLE):
            assert judge({"a": spec}, None, bad)[0].reason is Reason.NO_CREDENTIALS


def test_without_a_certificate_the_answer_asks_for_credentials(judge: Judge) -> None:
    """Nothing was shown, and something could have helped."""
    assert judge({"a": MESH_ONLY}, None, None) == (
        Deny(Reason.NO_CREDENTIALS, "a rule could allow it to a known caller", "a", "rules[0]"),
        None,
    )


def test_a_known_peer_without_the_role_is_told_so(judge: Judge, peer: MakePeer) -> None:
    """Its credentials are there: 403, not 401, and the decision names it."""
    verdict, caller = judge({"a": BOTH}, None, peer("other"))
    assert told(verdict) == ("role-missing", "a", "rules[0]")
    assert caller is not None
    assert caller.provider == "mesh"


def test_a_policy_that_takes_tokens_alone_still_asks_for_one(judge: Judge, peer: MakePeer) -> None:
    """To that policy nothing was shown."""
    specs = {"a": MESH_ONLY, "b": accepting("corporate") | {"rules": [{"role": "user"}]}}
    assert told(judge(specs, None, peer("other"))[0]) == ("no-credentials", "b", "rules[0]")


def test_the_token_counts_before_the_peer(judge: Judge, peer: MakePeer, make_identity: MakeIdentity) -> None:
    """Where a policy accepts it: what the workload may do is not added to what its user may."""
    verdict, caller = judge({"a": BOTH}, make_identity("other"), peer("workload"))
    assert told(verdict) == ("role-missing", "a", "rules[0]")
    assert caller is not None
    assert caller.subject == "alice"


def test_the_peer_counts_where_the_token_is_not_accepted(
    judge: Judge, peer: MakePeer, make_identity: MakeIdentity
) -> None:
    """A user's token on the way through does not keep a workload from what it may do itself."""
    verdict, caller = judge({"a": MESH_ONLY}, make_identity("user"), peer("workload"))
    assert told(verdict) == ("allowed", "a", "rules[0]")
    assert caller is not None
    assert caller.subject == SPIFFE


def test_each_policy_has_its_own_caller(judge: Judge, peer: MakePeer, make_identity: MakeIdentity) -> None:
    """Conditions see the caller of their policy; the decision tells of the one that was allowed."""
    specs = {
        "a": accepting("mesh") | {"rules": [{"when": "identity.provider == 'corporate'"}]},
        "b": accepting("corporate") | {"rules": [{"when": "identity.subject == 'alice' && !has(claims.namespace)"}]},
    }
    verdict, caller = judge(specs, make_identity(), peer())
    assert told(verdict) == ("allowed", "b", "rules[0]")
    assert caller is not None
    assert caller.subject == "alice"


@pytest.mark.parametrize("bad", [STRANGER, UNREADABLE])
def test_a_bad_mesh_identity_is_refused_where_nothing_else_was_shown(judge: Judge, bad: Deny) -> None:
    """T50: also where credentials are optional, and beside policies that would take anybody: bad is not absent."""
    optional = accepting("corporate", "mesh", optional=True) | {"rules": [{"role": "anonymous"}]}
    assert judge({"a": optional}, None, bad) == (bad, None)
    anyone = {"authentication": {"optional": True}, "rules": [{"role": "anonymous"}]}
    assert judge({"a": MESH_ONLY, "b": anyone}, None, bad) == (bad, None)
    assert judge({"b": anyone}, None, bad)[0].reason is Reason.ALLOWED


@pytest.mark.parametrize("bad", [STRANGER, UNREADABLE])
def test_a_bad_mesh_identity_does_not_matter_beside_a_token(
    judge: Judge, make_identity: MakeIdentity, bad: Deny
) -> None:
    """The token says who asks."""
    verdict, caller = judge({"a": BOTH}, make_identity("user"), bad)
    assert told(verdict) == ("allowed", "a", "rules[0]")
    assert caller is not None
    assert caller.subject == "alice"


def test_optional_means_that_nothing_was_shown(judge: Judge, peer: MakePeer) -> None:
    """A peer that the policy does not name is no anonymous caller for one that asks for mesh identities."""
    optional = accepting("mesh", optional=True) | {"rules": [{"roles": ["anonymous", "workload"]}]}
    assert judge({"a": optional}, None, None)[0].reason is Reason.ALLOWED
    assert judge({"a": optional}, None, peer("workload"))[0].reason is Reason.ALLOWED
    assert told(judge({"a": optional}, None, peer("workload", provider="other-mesh"))[0])[0] == "no-rule"


def test_a_deny_is_asked_for_the_token_and_for_the_peer(
    judge: Judge, peer: MakePeer, make_identity: MakeIdentity
) -> None:
    """Where the policy names the peer's provider: one of the two is enough."""
    denying = BOTH | {"deny": [{"name": "banned", "role": "banned"}]}
    for identity, shown in (
        (make_identity("user", "banned"), peer("workload")),
        (make_identity("user"), peer("workload", "banned")),
        (None, peer("workload", "banned")),
    ):
        assert told(judge({"a": denying}, identity, shown)[0]) == ("denied-by-rule", "a", "banned")
    assert judge({"a": denying}, make_identity("user"), peer("workload"))[0].reason is Reason.ALLOWED
    tokens_only = accepting("corporate") | {key: denying[key] for key in ("deny", "rules")}
    assert judge({"a": tokens_only}, make_identity("user"), peer("banned"))[0].reason is Reason.ALLOWED


def test_a_known_peer_is_not_anonymous_to_a_deny(judge: Judge, peer: MakePeer) -> None:
    """Where it counts; a policy that does not name its provider sees a caller without credentials."""
    deny = [{"role": "anonymous"}]
    assert judge({"a": MESH_ONLY | {"deny": deny}}, None, peer("workload"))[0].reason is Reason.ALLOWED
    specs = {"a": MESH_ONLY, "b": {"deny": deny}}
    assert told(judge(specs, None, peer("workload"))[0]) == ("denied-by-rule", "b", "deny[0]")


@pytest.mark.parametrize(
    ("rule", "denied"),
    [
        ({"role": "banned"}, True),
        ({"when": "has(claims.namespace) && claims.namespace == 'x'"}, True),
        ({"when": "'admin' in identity.roles"}, True),
        ({"role": "banned", "when": "request.method == 'GET'"}, True),
        ({"role": "banned", "when": "request.method == 'POST'"}, False),
        ({"when": "request.method == 'POST'"}, False),
        ({"role": "banned", "to": [{"methods": ["POST"]}]}, False),
        ({"role": "banned", "from": [{"ipBlocks": ["192.0.2.0/24"]}]}, False),
    ],
)
def test_a_deny_about_callers_matches_a_peer_that_nobody_can_tell(
    judge: Judge, make_identity: MakeIdentity, rule: dict[str, Any], *, denied: bool
) -> None:
    """P27: whoever breaks the header on purpose does not slip past a deny, with a token or without."""
    spec = BOTH | {"deny": [{"name": "who"} | rule]}
    verdict, _ = judge({"a": spec}, make_identity("user"), UNREADABLE)
    expected = ("credentials-invalid", "a", "who") if denied else ("allowed", "a", "rules[0]")
    assert told(verdict) == expected
    assert judge({"a": spec}, make_identity("user"), STRANGER)[0].reason is Reason.ALLOWED
    assert isinstance(judge({"a": spec}, None, UNREADABLE)[0], Deny)
    assert judge({"a": spec | accepting("corporate")}, make_identity("user"), UNREADABLE)[0].reason is Reason.ALLOWED


def test_a_preflight_passes_whoever_is_connected(judge: Judge) -> None:
    """It has no caller: the gateway between need not be known."""
    spec = accepting("mesh", preflight="allow") | {"rules": [{}]}
    assert told(judge({"a": spec}, None, STRANGER, preflight=True, method="OPTIONS")[0]) == (
        "allowed",
        "a",
        "preflight",
    )


def test_headers_tell_of_the_caller_of_their_policy(judge: Judge, peer: MakePeer, make_identity: MakeIdentity) -> None:
    """Of both, if both are accepted somewhere; where the two would set one name, the one that is allowed counts."""
    subject = {"response": {"headers": {"x-auth-subject": "identity.subject"}}}
    workload = {"response": {"headers": {"x-auth-subject": "identity.subject", "x-auth-ns": "claims.namespace"}}}
    user_rule, workload_rule = {"rules": [{"role": "user"}]}, {"rules": [{"role": "workload"}]}
    both = make_identity("user"), peer("workload")
    specs = {"a": accepting("mesh") | workload, "b": accepting("corporate") | subject | user_rule}
    verdict, _ = judge(specs, *both)
    assert isinstance(verdict, Allow)
    assert dict(verdict.set_headers) == {"x-auth-subject": "alice", "x-auth-ns": "shop"}
    specs = {"a": accepting("corporate") | subject, "b": accepting("mesh") | workload | workload_rule}
    verdict, _ = judge(specs, *both)
    assert isinstance(verdict, Allow)
    assert dict(verdict.set_headers) == {"x-auth-subject": SPIFFE, "x-auth-ns": "shop"}


def test_no_value_of_the_allowed_caller_is_not_filled_in_from_another(judge: Judge, peer: MakePeer) -> None:
    """An anonymous caller has no subject, and does not get the gateway's."""
    subject = {"response": {"headers": {"x-auth-subject": "identity.subject"}}}
    specs = {
        "a": accepting("mesh") | subject | {"rules": [{"role": "nobody-has-it"}]},
        "b": {"authentication": {"optional": True}, "rules": [{"role": "anonymous"}]} | subject,
    }
    verdict, caller = judge(specs, None, peer("workload"))
    assert verdict == Allow("b", "rules[0]", (), ("x-auth-subject",))
    assert caller is None


def test_only_policies_that_cover_the_request_ask_for_peers(load_specs: LoadSpecs, make_request: MakeRequest) -> None:
    """Requests of all others pay nothing."""
    snapshot = load_specs({"a": MESH_ONLY | {"targets": [{"hosts": ["mesh.example.com"]}]}, "b": {"rules": [{}]}})
    assert snapshot.select(make_request()).mesh_providers == frozenset()
    assert snapshot.select(make_request(host="mesh.example.com")).mesh_providers == {"mesh"}
