"""Where credentials come from, attacked through the authenticator: every place, two at once, other people's pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from extauthz.identity import (
    Authenticator,
    CookiePlace,
    HeaderPlace,
    InlineKeys,
    JwtProvider,
    Place,
    QueryPlace,
    WebsocketProtocolPlace,
)
from extauthz.model import Deny, Identity, Request
from tests.identity.issuer import OTHER_RSA_KEY, authenticator, jwk, jwks, mint, provider, request, word
from tests.identity.key_file import entry, fresh_key, keys_in, write
from tests.journey import Journey, assert_denies, check_request, policies, reason_of

GOOD = mint()
BAD = mint(key=OTHER_RSA_KEY)
OWN = "https://orders.example.com"
APP = "https://app.example.com"
PLACES: Mapping[str, Place] = {
    "bearer": HeaderPlace("authorization", "Bearer "),
    "plain": HeaderPlace("x-token", ""),
    "cookie": CookiePlace("session"),
    "query": QueryPlace("access_token"),
    "websocket": WebsocketProtocolPlace("bearer."),
}


def sent(place: str, *tokens: str, **parts: Any) -> Request:
    """A request that carries tokens in one place."""
    match place:
        case "bearer":
            return request({"authorization": [f"Bearer {token}" for token in tokens]}, **parts)
        case "plain":
            return request({"x-token": tokens}, **parts)
        case "cookie":
            return request({"cookie": "; ".join(f"session={token}" for token in tokens)}, **parts)
        case "query":
            return request(query="&".join(f"access_token={quote(token)}" for token in tokens), **parts)
        case _:
            words = ", ".join(["chat", *(f"bearer.{token}" for token in tokens)])
            headers = {"sec-websocket-protocol": words, "upgrade": "websocket"}
            return request(headers, **{"websocket": True, **parts})


def reader(*places: Place) -> Authenticator:
    return authenticator(provider(places=places))


def both(one: Request, other: Request) -> Request:
    """One request with the credentials of two."""
    return request({**one.headers, **other.headers}, query=one.query or other.query, websocket=other.websocket)


@pytest.mark.parametrize("place", PLACES)
def test_each_place_carries_a_token(place: str) -> None:
    """T8, T11: what is configured is read, and only that: by default no cookie, query or subprotocol is."""
    assert word(reader(PLACES[place]).authenticate(sent(place, GOOD))) == "identity"
    others = [other for name, other in PLACES.items() if name != place]
    for other in others:
        assert reader(other).authenticate(sent(place, GOOD)) is None
    if place != "bearer":
        assert authenticator().authenticate(sent(place, GOOD)) is None


@pytest.mark.parametrize("name", ["access_token", "%61ccess_token", "access%5Ftoken"])
def test_a_token_in_the_query_is_remembered_by_the_name_that_it_had(name: str) -> None:
    """T11: so that it can be removed before the upstream sees it; Envoy compares names as they are spelled."""
    found = reader(PLACES["query"]).authenticate(request(query=f"a=1&{name}={GOOD}"))
    assert isinstance(found, Identity)
    assert found.query_parameter == name
    elsewhere = reader(PLACES["bearer"]).authenticate(sent("bearer", GOOD))
    assert isinstance(elsewhere, Identity)
    assert elsewhere.query_parameter == ""


@pytest.mark.parametrize("token", ["", " ", "x", "a.b.c", BAD, mint({"exp": 1}), mint({"iss": "https://other/"})])
@pytest.mark.parametrize("place", PLACES)
def test_bad_credentials_never_become_nobody(place: str, token: str) -> None:
    """T50: in no place is an empty, broken, forged, expired or foreign token taken for none."""
    assert isinstance(reader(PLACES[place]).authenticate(sent(place, token)), Deny)


@pytest.mark.parametrize("token", ["x", BAD, mint({"exp": 1})])
@pytest.mark.parametrize("place", PLACES)
def test_optional_authentication_does_not_forgive(place: str, token: str) -> None:
    """T50: through the whole handler, with a policy that lets anybody in: no token is allowed, a bad one is 401."""
    anybody = policies(
        "{apiVersion: security.example.com/v1, kind: AuthPolicy, metadata: {name: a}, "
        "spec: {authentication: {optional: true}, rules: [{role: anonymous}, {role: user}]}}"
    )
    journey = Journey(anybody, reader(*PLACES.values()))
    assert reason_of(journey.answer(check_request())) == "allowed"
    bad = sent(place, token)
    path = "/orders" + (f"?{bad.query}" if bad.query else "")
    answer = journey.answer(check_request(path=path, headers={name: ", ".join(of) for name, of in bad.headers.items()}))
    assert_denies(answer)
    assert answer.denied_response.status.code == 401


@pytest.mark.parametrize("second", [GOOD, BAD, "x"])
@pytest.mark.parametrize("place", PLACES)
def test_a_credential_given_twice_is_refused(place: str, second: str) -> None:
    """T9: in one place, in any order, equal or not."""
    for tokens in ((GOOD, second), (second, GOOD)):
        assert word(reader(PLACES[place]).authenticate(sent(place, *tokens))) == "credentials-ambiguous"


@pytest.mark.parametrize("other", list(PLACES)[1:])
@pytest.mark.parametrize("token", [GOOD, BAD])
def test_credentials_in_two_places_are_refused(other: str, token: str) -> None:
    """T10: two transports at once, even of one good token."""
    subject = reader(*PLACES.values())
    assert word(subject.authenticate(both(sent("bearer", GOOD), sent(other, token)))) == "credentials-ambiguous"


@pytest.mark.parametrize(
    "query", ["%61ccess_token={}", "access_token={};x=1", "a=1;access_token={}", "access_token={}#x"]
)
def test_a_query_is_read_in_one_way(query: str) -> None:
    """T11, item 34: other spellings of the name count, and what parsers split differently is refused."""
    outcome = word(reader(PLACES["query"]).authenticate(request(query=query.format(GOOD))))
    assert outcome == ("identity" if query.startswith("%61") else outcome)
    assert outcome in {"identity", "credentials-ambiguous", "token-malformed"}


def test_a_subprotocol_counts_on_websockets_alone() -> None:
    """Elsewhere the header means nothing; with another prefix it is a protocol's name."""
    subject = reader(PLACES["websocket"])
    assert subject.authenticate(sent("websocket", GOOD, websocket=False)) is None
    assert subject.authenticate(request({"sec-websocket-protocol": f"Bearer.{GOOD}"}, websocket=True)) is None


# ------------------------------------------------------------------------------------------------ other people's pages


def visit(origin: str | None, place: str = "cookie", *, allowed: list[str] | None = None, **parts: Any) -> str:
    """What becomes of a request that a page made."""
    origins = None if allowed is None else frozenset(allowed)
    places: Mapping[str, Place] = {
        "cookie": CookiePlace("session", origins),
        "websocket": WebsocketProtocolPlace("bearer.", origins),
    }
    made = sent(place, GOOD, **parts)
    headers = dict(made.headers) if origin is None else {**made.headers, "origin": tuple(origin.split("|"))}
    return word(reader(places[place]).authenticate(request(headers, **{"websocket": made.websocket, **parts})))


@pytest.mark.parametrize(
    "origin", [APP, "null", "https://orders.example.com.evil.example", "", f"{OWN}|{OWN}", f"{OWN}/"]
)
@pytest.mark.parametrize("parts", [{"method": "POST"}, {"method": "GET"}, {"websocket": True}])
def test_a_cookie_does_not_count_for_other_pages(origin: str, parts: dict[str, Any]) -> None:
    """C22, item 35: forged requests and hijacked websockets bring the cookie along, and the wrong Origin with it."""
    assert visit(origin, **parts) == "credentials-invalid"


@pytest.mark.parametrize("origin", [OWN, f"{OWN}:8443", "HTTPS://Orders.Example.com"])
@pytest.mark.parametrize("parts", [{"method": "POST"}, {"method": "GET"}, {"websocket": True}])
def test_a_cookie_counts_for_the_hosts_own_pages(origin: str, parts: dict[str, Any]) -> None:
    """On any port, as cookies do."""
    assert visit(origin, **parts) == "identity"


def test_the_scheme_of_the_own_host() -> None:
    """A page over plain http counts only where the request itself is plain: else whoever is on the way could be it."""
    assert visit("http://orders.example.com", method="POST") == "credentials-invalid"
    assert visit("http://orders.example.com", method="POST", scheme="http") == "identity"
    assert visit(OWN, method="POST", scheme="http") == "identity"


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ({"method": "GET"}, "identity"),
        ({"method": "HEAD"}, "identity"),
        ({"method": "OPTIONS"}, "identity"),
        ({"method": "POST"}, "credentials-invalid"),
        ({"method": "DELETE"}, "credentials-invalid"),
        ({"method": "PROPFIND"}, "credentials-invalid"),
        ({"websocket": True}, "credentials-invalid"),
    ],
)
@pytest.mark.parametrize("allowed", [None, [APP]])
def test_a_cookie_without_origin(parts: dict[str, Any], outcome: str, allowed: list[str] | None) -> None:
    """Who follows a link sends none; what could change something needs one."""
    assert visit(None, allowed=allowed, **parts) == outcome


@pytest.mark.parametrize("place", ["cookie", "websocket"])
def test_allowed_origins(place: str) -> None:
    """With a list the Origin is in it, the host's own included; for subprotocols only with a list."""
    allowed = [APP, "http://localhost:3000"]
    for origin in allowed:
        assert visit(origin, place, allowed=allowed, websocket=True) == "identity"
    for origin in (OWN, "null", f"{APP}:8443", "http://localhost", f"{APP}|{APP}", f"{APP}, {OWN}"):
        assert visit(origin, place, allowed=allowed, websocket=True) == "credentials-invalid"


def test_a_subprotocol_is_no_ambient_credential() -> None:
    """Only a script that has the token can send it: without a list any page may, and programs that have no Origin."""
    assert visit(APP, "websocket") == visit(None, "websocket") == "identity"
    assert visit(None, "websocket", allowed=[APP]) == "credentials-invalid"


def test_a_header_is_not_asked_for_an_origin() -> None:
    """No browser sends a token in a header by itself."""
    assert word(authenticator().authenticate(request({"authorization": f"Bearer {GOOD}", "origin": APP}))) == "identity"


def test_one_cookie_of_two_providers() -> None:
    """Each one's list counts for its own tokens; with neither's the cookie counts for nobody."""
    mine = provider(places=(CookiePlace("session", frozenset({APP})),))
    other = JwtProvider(
        "other",
        "https://other.example/",
        frozenset({"orders"}),
        InlineKeys(jwks(jwk(OTHER_RSA_KEY, "k1"))),
        places=(CookiePlace("session", frozenset({OWN})),),
    )
    subject = authenticator(mine, other)
    foreign = mint({"iss": "https://other.example/"}, key=OTHER_RSA_KEY)
    outcomes = {
        (name, origin): word(
            subject.authenticate(request({"cookie": f"session={token}", "origin": origin}, method="POST"))
        )
        for name, token in (("mine", GOOD), ("other", foreign))
        for origin in (APP, OWN, "null")
    }
    assert outcomes == {
        ("mine", APP): "identity",
        ("mine", OWN): "issuer-unknown",
        ("mine", "null"): "credentials-invalid",
        ("other", APP): "issuer-unknown",
        ("other", OWN): "identity",
        ("other", "null"): "credentials-invalid",
    }


# --------------------------------------------------------------------------------- the policy says which one counts


@pytest.fixture
def two_kinds(tmp_path: Path) -> tuple[Authenticator, str]:
    """JWTs in `authorization` and in a cookie, API keys in `x-api-key`; and a good key."""
    key = fresh_key()
    keys = keys_in(write(tmp_path / "keys.yaml", entry(key, roles="[user]")), name="partner")
    jwts = provider(places=(PLACES["bearer"], PLACES["cookie"]))
    return authenticator(jwts, keys), key


def found(subject: Authenticator, sent: Request, *providers: str) -> str:
    outcome = subject.authenticate(sent, providers=frozenset(providers) or None)
    return outcome.provider if isinstance(outcome, Identity) else word(outcome)


def test_only_the_places_of_the_named_providers_are_looked_at(two_kinds: tuple[Authenticator, str]) -> None:
    """T10: two credentials are ambiguous unless providers are named; then theirs count, good or bad, and no others."""
    subject, key = two_kinds
    two = request({"authorization": f"Bearer {GOOD}", "x-api-key": key})
    assert found(subject, two) == "credentials-ambiguous"
    assert found(subject, two, "partner") == "partner"
    assert found(subject, two, "corporate") == "corporate"
    assert found(subject, two, "corporate", "partner") == "credentials-ambiguous"
    half_bad = request({"authorization": f"Bearer {BAD}", "x-api-key": key})
    assert found(subject, half_bad, "partner") == "partner"
    assert found(subject, half_bad, "corporate") == "signature-invalid"
    assert found(subject, request({"authorization": f"Bearer {GOOD}"}), "partner") == "none"
    assert found(subject, two, "mesh-only") == "none"
    in_two_places = request({"authorization": f"Bearer {GOOD}", "cookie": f"session={GOOD}", "x-api-key": key})
    assert found(subject, in_two_places, "corporate") == "credentials-ambiguous"


def test_another_scheme_in_a_header_that_counts_is_refused(two_kinds: tuple[Authenticator, str]) -> None:
    """T50: the header is looked at, so what is in it is never taken for nothing."""
    subject, key = two_kinds
    assert (
        found(subject, request({"authorization": "Basic dTpw", "x-api-key": key}), "corporate") == "credentials-invalid"
    )
    assert found(subject, request({"authorization": "Basic dTpw", "x-api-key": key}), "partner") == "partner"


def test_who_shares_the_place_is_still_known(tmp_path: Path) -> None:
    """A caller of another provider, in a place that counts, is proven and then refused by the policy: 403 and not 401."""
    key = fresh_key()
    keys = keys_in(write(tmp_path / "keys.yaml", entry(key)), name="partner", places=(PLACES["bearer"],))
    subject = authenticator(provider(), keys)
    assert found(subject, sent("bearer", GOOD), "partner") == "corporate"
    only_partners = policies(
        "{apiVersion: security.example.com/v1, kind: AuthPolicy, metadata: {name: a}, "
        "spec: {authentication: {providers: [partner]}, rules: [{name: any}]}}"
    )
    journey = Journey(only_partners, subject)
    assert reason_of(journey.answer(check_request(headers={"authorization": f"Bearer {GOOD}"}))) == "no-rule"
    assert reason_of(journey.answer(check_request(headers={"authorization": f"Bearer {key}"}))) == "allowed"


def test_the_policies_of_a_request_say_it_together(two_kinds: tuple[Authenticator, str]) -> None:
    """All of them name providers: the places of all those count. One that names none: every place counts."""
    subject, key = two_kinds
    names = {"a": "providers: [partner]", "b": "providers: [corporate]", "c": "optional: false"}
    texts = {
        name: "{apiVersion: security.example.com/v1, kind: AuthPolicy, metadata: {name: "
        + name
        + "}, spec: {authentication: {"
        + words
        + "}, rules: [{role: user}]}}"
        for name, words in names.items()
    }
    headers = {"authorization": f"Bearer {BAD}", "x-api-key": key}
    reasons = {
        which: reason_of(
            Journey(policies(*(texts[name] for name in which)), subject).answer(check_request(headers=headers))
        )
        for which in ("a", "b", "ab", "ac", "c")
    }
    assert reasons == {
        "a": "allowed",
        "b": "signature-invalid",
        "ab": "credentials-ambiguous",
        "ac": "credentials-ambiguous",
        "c": "credentials-ambiguous",
    }


def test_the_sets_that_policies_name_are_bounded(two_kinds: tuple[Authenticator, str]) -> None:
    """I7: beyond 256 of them all places count, which refuses more and never less."""
    subject, key = two_kinds
    two = request({"authorization": f"Bearer {GOOD}", "x-api-key": key})
    for number in range(256):
        assert found(subject, two, "partner", f"p{number}") == "partner"
    assert len(subject._readers) == 256
    assert found(subject, two, "partner") == "credentials-ambiguous"
    assert len(subject._readers) == 256
