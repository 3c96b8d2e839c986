"""Token exchange (RFC 8693): a provider's token for one of ours, which never says more (O38 to O40)."""

from dataclasses import replace
from typing import Any

import pytest

from extauthz.model import Deny, Identity, Reason, VerifiedClaims
from extauthz.tokens.http import HttpAnswer
from tests.tokens.parts import ACCESS_TOKEN, EXCHANGE, ISSUER, NOW, Desk, body, claims_of, error

REFUSED = (400, "invalid_request")


def knows(desk: Desk, token: str = "subject", ends: float | None = NOW + 3600, **changed: Any) -> None:
    """The verifier knows whom a token proves."""
    values: dict[str, Any] = {
        "subject": "alice",
        "issuer": "https://login.example.com",
        "provider": "corporate",
        "roles": frozenset({"user", "admin"}),
        "scopes": ("read", "openid"),
        "claims": {},
    } | changed
    desk.subjects.known[token] = Identity(**values | {"claims": VerifiedClaims(values["claims"])}), ends


async def exchanged(desk: Desk, token: str = "subject", *, client: str = "gateway", **changed: Any) -> HttpAnswer:
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
    return await desk.token(
        {name: value for name, value in (form | changed).items() if value is not None}, client=client
    )


async def test_a_token_of_a_provider(desk: Desk) -> None:
    """Who it proves, by whom it was exchanged, and no more than both may have (O39, O40)."""
    knows(desk, claims={"auth_time": NOW - 100, "email": "a@example.com"})
    answer = await exchanged(desk)
    told = body(answer)
    assert told["issued_token_type"] == ACCESS_TOKEN
    assert "refresh_token" not in told
    assert (told["scope"], told["expires_in"]) == ("read", 300)
    claims = claims_of(told["access_token"])
    del claims["jti"]
    assert claims == {
        "iss": ISSUER,
        "sub": "corporate:alice",
        "src_iss": "https://login.example.com",
        "src_sub": "alice",
        "aud": "orders",
        "client_id": "gateway",
        "act": {"iss": ISSUER, "sub": "gateway"},
        "roles": ["user"],
        "scope": "read",
        "iat": NOW,
        "exp": NOW + 300,
        "auth_time": NOW - 100,
    }
    assert desk.subjects.asked == {"corporate", "k8s"}
    event = desk.log.last()
    assert (event.action, event.client_id, event.subject) == ("exchange", "gateway", "corporate:alice")


async def test_a_service_account_of_kubernetes(desk: Desk) -> None:
    """Its name stays whole behind that of the provider."""
    knows(desk, provider="k8s", subject="system:serviceaccount:shop:orders", scopes=())
    claims = claims_of(body(await exchanged(desk))["access_token"])
    assert claims["sub"] == "k8s:system:serviceaccount:shop:orders"
    assert "scope" not in claims


async def test_two_issuers_may_know_different_people_by_one_name(desk: Desk) -> None:
    """They don't become one, nor does any become a client (O15)."""
    knows(desk, "one", subject="shop")
    knows(desk, "two", subject="shop", provider="k8s", issuer="https://kubernetes.default.svc")
    own = claims_of(body(await desk.credentials())["access_token"])["sub"]
    subjects = {claims_of(body(await exchanged(desk, token))["access_token"])["sub"] for token in ("one", "two")}
    assert len(subjects | {own}) == 3


async def test_one_of_our_own_tokens(desk: Desk) -> None:
    """Its subject stays, and the client that exchanges it stands before who acted already."""
    claims = {"src_iss": "https://login.example.com", "src_sub": "alice", "act": {"iss": ISSUER, "sub": "edge"}}
    knows(desk, issuer=ISSUER, subject="corporate:alice", claims=claims)
    told = claims_of(body(await exchanged(desk))["access_token"])
    assert (told["sub"], told["src_sub"]) == ("corporate:alice", "alice")
    assert told["act"] == {"iss": ISSUER, "sub": "gateway", "act": {"iss": ISSUER, "sub": "edge"}}


async def test_what_was_exchanged_ends_with_the_session(desk: Desk) -> None:
    """It carries the session of the token that was brought, if that is our own; its client can end neither by it."""
    knows(desk, issuer=ISSUER, subject="loop", claims={"sid": "s1"})
    token = body(await exchanged(desk))["access_token"]
    assert claims_of(token)["sid"] == "s1"
    gateway = desk.clients["gateway"]
    desk.registry.configure({**desk.clients, "gateway": replace(gateway, renew=True)})
    assert error(await desk.renew(token)) == (400, "invalid_grant")
    assert (await desk.post("/oauth2/revoke", {"token": token}, client="gateway")).status == 200
    assert [one.kind for one in desk.store.revoked] == ["token"]
    knows(desk, claims={"sid": "s1"})
    assert "sid" not in claims_of(body(await exchanged(desk))["access_token"])


async def test_a_foreign_actor_keeps_its_issuer(desk: Desk) -> None:
    """Two issuers may call different actors by one name too."""
    knows(desk, claims={"act": {"sub": "proxy"}})
    told = claims_of(body(await exchanged(desk))["access_token"])
    assert told["act"]["act"] == {"iss": "https://login.example.com", "sub": "proxy"}


async def test_it_lives_no_longer(desk: Desk) -> None:
    """Than the token that was brought (O39)."""
    knows(desk, ends=NOW + 60.9)
    assert body(await exchanged(desk))["expires_in"] == 60
    knows(desk, ends=NOW + 0.5)
    assert error(await exchanged(desk)) == (400, "invalid_grant")
    knows(desk, ends=None)
    assert body(await exchanged(desk))["expires_in"] == 300


async def test_it_says_no_more(desk: Desk) -> None:
    """A scope that the client might have and the subject token has not; a role that the client may not bring (O39)."""
    knows(desk)
    for scope in ("write", "admin", "openid", "read write"):
        assert error(await exchanged(desk, scope=scope)) == (400, "invalid_scope")
    assert body(await exchanged(desk, scope="read"))["scope"] == "read"
    knows(desk, roles=frozenset({"admin"}))
    assert claims_of(body(await exchanged(desk))["access_token"])["roles"] == []


async def test_audience_and_resource(desk: Desk) -> None:
    """Both say whom it is for; the client's policy says whom it may be for (RFC 8693 section 2.1)."""
    knows(desk)
    both = claims_of(body(await exchanged(desk, audience="stock", resource="orders"))["access_token"])
    assert set(both["aud"]) == {"stock", "orders"}
    for name in ("audience", "resource"):
        assert error(await exchanged(desk, **{name: "elsewhere"})) == (400, "invalid_target")


@pytest.mark.parametrize(
    "changed",
    [
        {"subject_token": None},
        {"subject_token_type": None},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": "access_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"actor_token": "x"},
        {"actor_token": "x", "actor_token_type": ACCESS_TOKEN},
        {"actor_token_type": ACCESS_TOKEN},
    ],
)
async def test_what_a_request_must_say(desk: Desk, changed: dict[str, str]) -> None:
    """Both parameters, known types, no actor tokens (O38)."""
    knows(desk)
    assert error(await exchanged(desk, **changed)) == REFUSED


@pytest.mark.parametrize(
    "changed",
    [
        {"provider": "partner"},
        {"claims": {"cnf": {"jkt": "x"}}},
        {"claims": {"may_act": {"sub": "other"}}},
        {"claims": {"may_act": {"iss": "https://elsewhere", "sub": "gateway"}}},
        {"claims": {"may_act": {}}},
        {"claims": {"may_act": "gateway"}},
        {"claims": {"act": "proxy"}},
        {"claims": {"act": {"sub": "x" * 3000}}},
    ],
)
async def test_subject_tokens_that_are_refused(desk: Desk, changed: dict[str, Any]) -> None:
    """Another provider's, one that is bound to its sender, one that names another actor; what can't be kept (O39, O40)."""
    knows(desk, **changed)
    assert error(await exchanged(desk)) == REFUSED
    assert "not valid, or not one" in body(await exchanged(desk))["error_description"]


async def test_may_act_names_the_client(desk: Desk) -> None:
    """Then it may (RFC 8693 section 4.4)."""
    knows(desk, claims={"may_act": {"iss": ISSUER, "sub": "gateway"}})
    assert (await exchanged(desk)).status == 200


async def test_unverified_tokens(desk: Desk) -> None:
    """What the verifier refuses, revoked ones included, all looks the same; the log has the reason (O40)."""
    desk.subjects.known["revoked"] = Deny(Reason.TOKEN_REVOKED, "revoked")
    assert (await exchanged(desk, "revoked")).body == (await exchanged(desk, "forged")).body
    assert error(await exchanged(desk, "revoked")) == REFUSED
    assert "token-revoked" in desk.log.last().detail
    desk.subjects.known["keyless"] = Deny(Reason.KEYS_UNAVAILABLE)
    assert error(await exchanged(desk, "keyless")) == (503, "temporarily_unavailable")


async def test_clients_that_may_not(desk: Desk) -> None:
    """Exchange is for those that it is configured for."""
    knows(desk)
    assert error(await exchanged(desk, client="shop")) == (400, "unauthorized_client")
