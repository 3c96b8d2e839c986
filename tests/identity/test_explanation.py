"""The steps to an identity, told to a person: they lead where ``authenticate`` leads, and hold no credential."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity import (
    Authenticator,
    ClaimPath,
    ClientSecret,
    CookiePlace,
    HeaderPlace,
    IdentitySeen,
    IntrospectionProvider,
    JwtProvider,
    QueryPlace,
    RemoteKeys,
    RoleRules,
    Wait,
    WebsocketProtocolPlace,
)
from extauthz.model import Deny, Identity, Request
from tests.identity.issuer import ISSUER, NOW, OTHER_RSA_KEY, authenticator, bearer, mint, provider, request, without
from tests.identity.key_file import entry, fresh_key, keys_in, write
from tests.identity.test_basic import FakeDirectory, basic, staff

ROLES = RoleRules(
    (ClaimPath.parse("roles"), ClaimPath.parse("realm_access.roles"), ClaimPath.parse("scope")),
    {"/platform/admins": "admin", "old": "legacy"},
    frozenset({"admin", "user", "writer"}),
)
PLACES = (
    HeaderPlace("authorization"),
    CookiePlace("session"),
    QueryPlace("access_token"),
    WebsocketProtocolPlace("t."),
)
CORPORATE = provider(roles=ROLES, places=PLACES, max_lifetime=3600.0)
SEVERAL = authenticator(
    CORPORATE,
    provider(name="partner", issuer="https://partner.example/", places=(HeaderPlace("x-partner", ""),)),
    includes={"admin": ["user"]},
)


def told(subject: Authenticator, asked: Request, providers: frozenset[str] | None = None) -> IdentitySeen:
    """The explanation, after it was held against what decides."""
    seen = subject.explain(asked, providers=providers)
    found = subject.authenticate(asked, providers=providers, waited=True)
    assert seen.found == found
    failed = [step for step in seen.steps if step.holds is False]
    assert bool(failed) == isinstance(found, Deny), seen
    if isinstance(found, Deny):
        assert failed[-1] is seen.steps[-1]
        assert failed[-1].fault == (found.detail or found.reason.sentence)
    if isinstance(found, Identity):
        assert seen.steps[-1].about == "roles"
        assert seen.steps[-1].value == (", ".join(sorted(found.roles)) or "none")
    return seen


def steps(seen: IdentitySeen, about: str) -> list[Any]:
    return [step for step in seen.steps if step.about == about]


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "alice", "orders", 5, -1, NOW - 10, NOW + 10, NOW + 1e6, [], ["orders"], [1], {}, True]
)
CLAIMS = st.sampled_from(
    ["sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "cnf", "scope", "roles", "iss", "realm_access"]
)
CHANGES = st.dictionaries(CLAIMS, VALUES, max_size=2) | st.sampled_from(
    [
        {"roles": ["/platform/admins", "old", "anonymous", "guest"]},
        {"realm_access": {"roles": "user"}, "scope": "writer reader"},
        {"iss": "https://partner.example/"},
        {"iss": ISSUER.rstrip("/")},
        without("exp"),
    ]
)
HEADS = st.sampled_from([{}, {"kid": "k2"}, without("kid"), {"alg": "ES256"}, {"typ": "logout+jwt"}, {"crit": ["x"]}])
KEYS = st.sampled_from([None, OTHER_RSA_KEY])


@st.composite
def tokens(draw: Any) -> str:
    """Good ones, bad ones, and what is none."""
    if draw(st.integers(0, 9)) == 0:
        return str(draw(st.sampled_from(["x", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", "a.b.c.d.e"])))
    key, header = draw(KEYS), draw(HEADS)
    return mint(draw(CHANGES), header=header, signed_as="RS256", **({} if key is None else {"key": key}))


@st.composite
def requests(draw: Any) -> Request:
    """With no credential, one, or several, in the right place or not."""
    token = draw(tokens())
    places = draw(
        st.lists(st.sampled_from(["authorization", "cookie", "query", "websocket", "x-partner", "bad"]), max_size=2)
    )
    headers: dict[str, str] = {}
    query = ""
    for place in places:
        match place:
            case "authorization":
                headers["authorization"] = f"Bearer {token}"
            case "cookie":
                headers["cookie"] = f"session={token}"
            case "query":
                query = f"access_token={token}"
            case "websocket":
                headers["sec-websocket-protocol"] = f"t.{token}"
            case "x-partner":
                headers["x-partner"] = token
            case _:
                headers["authorization"] = draw(
                    st.sampled_from(["Digest x", "Bearer", "Bearer a b", "Bearer a, Bearer b"])
                )
    return request(headers, query=query, websocket=draw(st.booleans()), method=draw(st.sampled_from(["GET", "POST"])))


@given(requests(), st.sampled_from([None, frozenset({"corporate"}), frozenset({"partner"})]))
def test_the_steps_lead_where_authentication_leads(asked: Request, providers: frozenset[str] | None) -> None:
    """Whatever is sent: a step has failed exactly where the credentials were refused, and with the same words."""
    told(SEVERAL, asked, providers)


@given(requests())
def test_no_step_holds_a_credential(asked: Request) -> None:
    """I6: neither a token nor a part of one that could be used."""
    seen = repr(told(SEVERAL, asked).steps)
    for values in asked.headers.values():
        for value in values:
            for part in value.removeprefix("Bearer ").removeprefix("session=").removeprefix("t.").split("."):
                assert len(part) < 12 or part not in seen


def test_every_place_is_told() -> None:
    """Those of the providers that count, with what was in them."""
    seen = told(SEVERAL, bearer(mint()), frozenset({"corporate"}))
    assert [(step.asked, step.holds) for step in steps(seen, "place")] == [
        ("the header authorization ('bearer ' and a credential)", True),
        ("the cookie session", None),
        ("websocket subprotocols that begin with t.", None),
        ("the query parameter access_token", None),
    ]


def test_a_good_token_passes_every_check_in_order() -> None:
    """And each says what it asked for, and what the token has."""
    seen = told(SEVERAL, bearer(mint({"roles": ["/platform/admins", "old", "anonymous", "guest", "user"]})))
    names = ["form", "provider", "keys", "algorithm", "type", "key", "signature", "text", "audience", "times", "claims"]
    assert [step.about for step in seen.steps if step.about not in ("place", "roles")] == ["credential", *names, "kind"]
    assert steps(seen, "form")[0].value == f"alg RS256, typ jwt, kid k1, iss {ISSUER}"
    assert steps(seen, "algorithm")[0].asked == "alg is one of ES256, EdDSA, RS256"
    assert steps(seen, "audience")[0].asked == f"iss is {ISSUER}, and aud names one of orders"
    assert steps(seen, "audience")[0].value == "aud orders"
    assert [(step.asked, step.value) for step in steps(seen, "roles")] == [
        (
            "names in the claim roles",
            (
                "/platform/admins -> admin, old -> legacy (not in mayGrant), anonymous (nobody may give it), "
                "guest (not in mayGrant), user"
            ),
        ),
        ("names in the claim realm_access > roles", "none"),
        ("names in the claim scope", "none"),
        ("what role admin includes", "user"),
        ("the claims give roles", "admin, user"),
    ]


@pytest.mark.parametrize(
    ("token", "check"),
    [
        (mint(header={"alg": "HS256"}, signed_as="RS256"), "algorithm"),
        (mint(header={"typ": "logout+jwt"}), "type"),
        (mint(header={"kid": "k2"}), "key"),
        (mint(key=OTHER_RSA_KEY), "signature"),
        (mint({"jti": "a\0b"}), "text"),
        (mint({"aud": "billing"}), "audience"),
        (mint({"exp": 1, "iat": 0}), "times"),
        (mint({"sub": ""}), "claims"),
        (mint({"nonce": "n"}), "kind"),
        (mint({"roles": 5}), "roles"),
        (mint({"iss": "https://evil.example/"}), "provider"),
        ("a.b.c.d.e", "form"),
    ],
)
def test_the_first_check_that_fails_is_the_last_step(token: str, check: str) -> None:
    """Nothing of what comes after it was asked."""
    assert told(SEVERAL, bearer(token)).steps[-1].about == check


def test_what_a_token_says_is_cut_to_a_bearable_length() -> None:
    """A sender can't fill the screen of whoever asks why."""
    header = {"kid": "k" * 1000, "alg": ["a" * 300] * 9}
    seen = told(SEVERAL, bearer(mint({"iss": "x" * 5000}, header=header, signed_as="RS256")))
    assert steps(seen, "form")[0].holds
    assert max(len(step.value) for step in seen.steps) < 1600


def test_missing_keys_are_told() -> None:
    """What the provider is waiting for."""
    remote = authenticator(provider(keys=RemoteKeys("https://login.example.com/jwks")))
    assert told(remote, bearer(mint())).steps[-1].about == "keys"


def test_an_api_key_is_vouched_for(tmp_path: Path) -> None:
    """Its roles stand in its record; its text is in no step."""
    key = fresh_key()
    subject = authenticator(CORPORATE, keys_in(write(tmp_path / "keys.yaml", entry(key, roles="[partner]"))))
    seen = told(subject, request({"x-api-key": key}))
    assert [(step.value or step.holds) for step in seen.steps[-3:]] == ["partners", True, "partner"]
    assert key not in repr(seen)
    assert told(subject, request({"x-api-key": key[:-1] + "_"})).steps[-1].about == "answer"


async def test_a_password_is_vouched_for_by_its_directory() -> None:
    """Groups are told like the claims of a token; name and password are not told at all."""
    subject = authenticator(staff(FakeDirectory()), includes={"admin": ["reader"]})
    for password, last in (("wonderland", "roles"), ("s3cret-guess", "answer")):
        waiting = subject.authenticate(basic(f"alice:{password}"))
        assert isinstance(waiting, Wait)
        await waiting.ready()
        seen = told(subject, basic(f"alice:{password}"))
        assert seen.steps[-1].about == last
        assert password not in repr(seen.steps)
    seen = told(subject, basic("alice:wonderland"))
    assert steps(seen, "roles")[0].value.startswith("admins -> admin, ")


def test_a_token_without_form_goes_to_its_endpoint(tmp_path: Path) -> None:
    """Which was not asked yet, and nobody waits here."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret-of-the-client")
    endpoint = IntrospectionProvider(
        name="opaque",
        endpoint="https://login.example.com/introspect",
        client=ClientSecret("extauthz", str(secret), "basic"),
        issuer=None,
        audiences=None,
    )
    subject = authenticator(endpoint)
    seen = told(subject, bearer("opaque-token-of-somebody"))
    assert [(step.about, step.value) for step in seen.steps[-2:]] == [("provider", "opaque"), ("answer", "")]


def test_nobody_reads_anything_without_providers() -> None:
    """And says so."""
    nobody: list[JwtProvider] = []
    empty = Authenticator(nobody, {}, fetcher=authenticator()._tokens, now=lambda: NOW)  # type: ignore[arg-type]
    assert told(empty, bearer(mint())).steps[-1].value == "none: there is no place to look at"
