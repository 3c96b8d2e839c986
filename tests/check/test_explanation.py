"""What is told of a decision is what decided."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from extauthz.check import Check, RequestRules, explain
from extauthz.identity import Authenticator, CacheLimits, ClaimPath, HeaderPlace, QueryPlace, RemoteKeys, RoleRules
from extauthz.limits import Pending
from extauthz.model import Allow, AttributeContext, Charge, Decision, Deny, HttpAttributes, Identity, Reason, Request
from extauthz.policy import RuleSeen, Snapshot, Stage
from extauthz.workbench.given import Given, Unused
from tests.identity.issuer import NOW, OTHER_RSA_KEY, RSA_KEY, FakeFetcher, authenticator, jwk, mint, provider
from tests.journey import caller, policies
from tests.policy.test_oracle import Asked, Specs, asked, loaded, made

HEAD = "apiVersion: security.example.com/v1\nkind: AuthPolicy\nmetadata: {name: %s}\nspec: %s"
USERS = HEAD % ("users", "{rules: [{name: read, role: user, to: [{methods: [GET]}]}, {name: all, role: admin}]}")


def as_sent(request: Request) -> AttributeContext:
    """What a proxy sends for a canonical request."""
    path = f"{request.path}?{request.query}" if request.query else request.path
    http = HttpAttributes(
        request.id, request.method, path, request.host, request.scheme, request.protocol, request.headers
    )
    return AttributeContext(
        request.source, request.destination, request.time, http if request.http else None, request.sni, request.context
    )


def check_of(snapshot: Snapshot, found: Any = None, peer: Any = None) -> Check:
    return Check(Given(found, peer), snapshot, RequestRules(), limiter=Unused(), new_id=lambda: "d")


def rules_of(explanation: Any) -> list[RuleSeen]:
    return [rule for policy in explanation.policy.policies for rule in (*policy.deny, *policy.rules)]


def assert_told(explanation: Any, decision: Decision) -> None:
    """Fail unless what is told can only belong to this decision."""
    assert explanation.decision == decision
    verdict, told = decision.verdict, explanation.policy
    if decision.request is None or isinstance(decision.found, Deny):
        assert told is None
        return
    assert isinstance(told.verdict, Allow) == isinstance(verdict, Allow)
    assert told.verdict.reason is verdict.reason
    assert (told.verdict.policy, told.verdict.rule) == (verdict.policy, verdict.rule)
    named = [rule for rule in rules_of(explanation) if (rule.policy, rule.rule) == (verdict.policy, verdict.rule)]
    covering = {policy.policy for policy in told.policies if policy.covers and not policy.shadow}
    assert covering == {policy.name for policy in explanation.selection.policies}
    if isinstance(verdict, Allow) and verdict.rule != "preflight":
        assert [rule.matched for rule in named if not rule.deny] == [True]
    elif verdict.reason in (Reason.DENIED_BY_RULE, Reason.CONDITION_ERROR):
        assert any(rule.matched or rule.condition for rule in named)
    elif verdict.reason is Reason.ROLE_MISSING:
        assert [rule.stage for rule in named if not rule.deny] == [Stage.ROLE]
    if isinstance(verdict, Deny):
        in_force = [rule for rule in rules_of(explanation) if rule.policy in covering and not rule.shadow]
        denied = any(rule.matched for rule in in_force if rule.deny)
        assert denied or isinstance(decision.peer, Deny) or not any(rule.matched for rule in in_force)


@settings(max_examples=150, deadline=None)
@given(made(lambda make: (make.specs(4), make.specs(2), asked(make, 3, 2, 2))))
def test_the_explanation_is_that_of_the_decision(example: tuple[Specs, Specs, list[Asked]]) -> None:
    """For any policies, in force and in shadow mode, and any requests and callers."""
    specs, more, requests = example
    shadows: Mapping[str, Any] = {f"{name}-shadow": spec | {"mode": "Shadow"} for name, spec in more.items()}
    snapshot = loaded({**specs, **shadows})
    for request, token, peer in requests:
        check, sent = check_of(snapshot, token, peer), as_sent(request)
        decision = check.decide(sent)
        assert isinstance(decision, Decision)
        assert_told(explain(check, sent), decision)


def test_a_refused_form_ends_the_journey(send: Any) -> None:
    """There is no canonical request, nobody was asked for credentials, and no policy either."""
    told = explain(check_of(policies(USERS), caller("user")), send(path="/a/../b"))
    assert isinstance(told.request, Deny)
    assert told.request == told.decision.verdict
    assert (told.steps, told.selection, told.policy) == ((), None, None)


def test_refused_credentials_end_the_journey(send: Any) -> None:
    """No rule is asked for somebody who lied."""
    told = explain(check_of(policies(USERS), Deny(Reason.TOKEN_EXPIRED)), send())
    assert told.decision.verdict.reason is Reason.TOKEN_EXPIRED
    assert told.policy is None
    assert told.selection is not None
    assert [policy.name for policy in told.selection.policies] == ["users"]


def test_what_covers_nothing_is_told_as_well(send: Any) -> None:
    """Why no policy covers the request is in the targets of each."""
    other = HEAD % ("other", "{targets: [{hosts: [b.example.com]}], rules: [{role: user}]}")
    told = explain(check_of(policies(other), caller("user")), send())
    assert told.decision.verdict.reason is Reason.NO_POLICY
    assert told.steps == ()
    assert told.policy is not None
    [policy] = told.policy.policies
    [word] = policy.targets[0].words
    assert (word.word, word.written, word.value, word.holds) == (
        "hosts",
        ("b.example.com",),
        "orders.example.com",
        False,
    )


REAL = provider(
    roles=RoleRules((ClaimPath.parse("roles"),)), places=(HeaderPlace("authorization"), QueryPlace("access_token"))
)


def real(real_provider: Any = REAL, **parts: Any) -> Authenticator:
    return authenticator(real_provider, token_cache=CacheLimits(max_entries=0), **parts)


def with_token(send: Any, token: str, **parts: Any) -> AttributeContext:
    sent: AttributeContext = send({"authorization": f"Bearer {token}"}, **parts)
    return replace(sent, time=NOW)


@pytest.mark.parametrize(
    ("token", "last"),
    [(mint(), "roles"), (mint({"exp": 1, "iat": 0}), "times"), (mint(key=OTHER_RSA_KEY), "signature"), ("x", "form")],
)
def test_the_real_authenticator_tells_its_steps(send: Any, token: str, last: str) -> None:
    """The same one that decides, up to what decided."""
    check = Check(real(), policies(USERS), RequestRules(), limiter=Unused(), new_id=lambda: "d")
    told = explain(check, with_token(send, token))
    assert told.decision == check.decide(with_token(send, token))
    assert told.steps[-1].about == last
    verdict = told.decision.verdict
    assert told.steps[-1].fault == (verdict.detail if isinstance(verdict, Deny) else "")


def test_keys_that_are_not_here_are_said_to_be_missing(send: Any) -> None:
    """Nobody waits for them here: whoever explains has done so before."""
    remote = real(replace(REAL, keys=RemoteKeys("https://login.example.com/jwks")))
    check = Check(remote, policies(USERS), RequestRules(), limiter=Unused(), new_id=lambda: "d")
    told = explain(check, with_token(send, mint()))
    assert told.decision.verdict.reason is Reason.KEYS_UNAVAILABLE
    assert (told.steps[-1].about, told.steps[-1].holds) == ("keys", False)


async def test_keys_that_have_arrived_are_used(send: Any) -> None:
    """As by any request that comes after the one that waited."""
    fetcher = FakeFetcher()
    fetcher.publish(jwk(RSA_KEY, "k1"))
    remote = real(replace(REAL, keys=RemoteKeys("https://login.example.com/jwks")), fetcher=fetcher)
    check = Check(remote, policies(USERS), RequestRules(), limiter=Unused(), new_id=lambda: "d")
    waiting = check.decide(with_token(send, mint()))
    assert not isinstance(waiting, Decision)
    await waiting.settle()
    assert explain(check, with_token(send, mint())).decision.verdict.reason is Reason.ALLOWED


@pytest.mark.parametrize(
    ("peer", "token", "holds", "told"),
    [
        (caller("workload", subject="spiffe://a/b", provider="mesh"), None, True, "spiffe://a/b"),
        (Deny(Reason.ISSUER_UNKNOWN, "somebody else's", provider="mesh"), None, False, "somebody else's"),
        (Deny(Reason.ISSUER_UNKNOWN, "somebody else's", provider="mesh"), caller("user"), None, "somebody else's"),
        (None, None, None, "nobody"),
    ],
)
def test_the_peer_is_a_step_where_a_policy_names_its_provider(
    send: Any, peer: Identity | Deny | None, token: Identity | None, holds: bool | None, told: str
) -> None:
    """Beside a token, a peer that is nobody's caller has failed at nothing."""
    mesh = HEAD % ("mesh", "{authentication: {providers: [corporate, mesh]}, rules: [{role: workload}]}")
    step = explain(check_of(policies(mesh), token, peer), send()).steps[0]
    assert (step.about, step.holds, step.value or step.fault) == ("peer", holds, told)


def test_a_limiter_that_has_to_be_waited_for_is_a_mistake(send: Any) -> None:
    """An explanation charges nobody."""

    class Later:
        def take(self, charge: Charge) -> Any:
            class Never(Pending):
                async def settle(self) -> Any:
                    raise AssertionError

            return Never()

    rated = HEAD % ("rated", "{rules: [{role: user, maxRequestsPerMinute: 5}]}")
    check = Check(Given(caller("user")), policies(rated), RequestRules(), limiter=Later(), new_id=lambda: "d")
    with pytest.raises(RuntimeError, match="answers at once"):
        explain(check, send())
