"""Where a token may be, and that there is exactly one (docs/security.md T8 to T11, T50)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity import (
    CookiePlace,
    HeaderPlace,
    Place,
    QueryPlace,
    WebsocketProtocolPlace,
)
from extauthz.identity.credential import Credential
from extauthz.identity.credentials import CredentialReader
from extauthz.model import Deny, Request
from tests.identity.issuer import authenticator, mint, provider, request, word

BEARER = HeaderPlace("authorization", "Bearer ")
TOKEN = "aaa.bbb.ccc"


def find(sent: Request, *places: Place) -> str:
    """The token that is found, ``none``, or the reason of the denial."""
    found = CredentialReader({"p": places or (BEARER,)}).find(sent)
    if isinstance(found, Credential):
        return found.token
    return "none" if found is None else found.reason.word


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER    {TOKEN}", f"Bearer {TOKEN} "])
def test_the_bearer_scheme_is_read_without_regard_to_case(value: str) -> None:
    """T8: any case, one or more spaces."""
    assert find(request({"authorization": value})) == TOKEN


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer a b", f"Bearer {TOKEN} .junk", "bearer  a  b"])
def test_after_the_scheme_comes_exactly_one_token(value: str) -> None:
    """T8: none or two tokens are malformed."""
    assert find(request({"authorization": value})) == "token-malformed"


@pytest.mark.parametrize(
    "value",
    ["Basic dTpw", f"Bearer-x {TOKEN}", f"Bearer{TOKEN}", TOKEN, "", " ", f" Bearer {TOKEN}", f"Bearer\t{TOKEN}"],
)
def test_other_schemes_are_invalid_and_not_absent(value: str) -> None:
    """T50: a header that is there but of no known kind is refused, so that nobody becomes anonymous by it."""
    assert find(request({"authorization": value})) == "credentials-invalid"


def test_no_header_is_no_credentials() -> None:
    """T50: only a request without any credential has none."""
    assert find(request()) == "none"
    assert find(request(http=False)) == "none"


@pytest.mark.parametrize(
    "values",
    [
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        [f"Bearer {TOKEN},Bearer {TOKEN}"],
        [f"Bearer {TOKEN}, Basic x"],
        [f"Bearer {TOKEN},"],
        [f"Basic x,Bearer {TOKEN}"],
        [],
    ],
)
def test_two_authorization_headers_are_refused(values: list[str]) -> None:
    """T9, item 21: twice, or joined by a comma as Envoy does, is ambiguous even if both are equal."""
    assert find(request({"authorization": values})) == "credentials-ambiguous"


def test_two_places_are_refused() -> None:
    """T10: the same token in a header and in a cookie is ambiguous."""
    sent = request({"authorization": f"Bearer {TOKEN}", "cookie": f"token={TOKEN}"})
    assert find(sent, BEARER, CookiePlace("token")) == "credentials-ambiguous"
    assert find(sent, BEARER) == TOKEN


def test_a_bad_credential_beside_a_good_one_is_refused() -> None:
    """T10: every present credential counts."""
    sent = request({"authorization": "Basic dTpw", "cookie": f"token={TOKEN}"})
    assert find(sent, BEARER, CookiePlace("token")) == "credentials-invalid"


def test_headers_have_the_prefix_that_was_configured() -> None:
    """A prefix without a final space is literal, an empty one takes the whole value, the longest wins."""
    plain, literal = HeaderPlace("x-token", ""), HeaderPlace("x-token", "Token=")
    assert find(request({"x-token": TOKEN}), plain) == TOKEN
    assert find(request({"x-token": f"Token={TOKEN}"}), literal) == TOKEN
    assert find(request({"x-token": f"token={TOKEN}"}), literal) == "credentials-invalid"
    assert find(request({"x-token": f"Token={TOKEN}"}), plain, literal) == TOKEN
    assert find(request({"x-token": TOKEN}), plain, literal) == TOKEN


def test_a_token_names_the_providers_that_take_it_there() -> None:
    """Each place knows its providers; spellings of one scheme are one place."""
    reader = CredentialReader({"a": [BEARER], "b": [HeaderPlace("authorization", "bearer ")], "c": [CookiePlace("c")]})
    header = reader.find(request({"authorization": f"Bearer {TOKEN}"}))
    cookie = reader.find(request({"cookie": f"c={TOKEN}"}))
    assert isinstance(header, Credential)
    assert isinstance(cookie, Credential)
    assert header.providers == {"a", "b"}
    assert cookie.providers == {"c"}
    assert TOKEN not in repr(header)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"token={TOKEN}"], TOKEN),
        ([f"a=1; token={TOKEN}; b=2"], TOKEN),
        ([f"a=1;token={TOKEN}"], TOKEN),
        (["a=1", f"token={TOKEN}"], TOKEN),
        ([f"a=1,2; token={TOKEN}; b=3,4"], TOKEN),
        (["a=1; b=2"], "none"),
        ([f"xtoken={TOKEN}; tokenx=1; Token=2"], "none"),
        ([f"token={TOKEN}; token={TOKEN}"], "credentials-ambiguous"),
        ([f"token={TOKEN}", "token=x"], "credentials-ambiguous"),
        ([f"a=1,token={TOKEN}"], "credentials-ambiguous"),
        ([f"token={TOKEN},token=x"], "credentials-ambiguous"),
        ([f"token={TOKEN}; a=1, token =x"], "credentials-ambiguous"),
        ([f"token={TOKEN},b"], "credentials-ambiguous"),
        (["token="], "token-malformed"),
        (["token"], "token-malformed"),
        (["token=a b"], "token-malformed"),
    ],
)
def test_cookies_are_counted_in_every_way_to_split(lines: Sequence[str], expected: str) -> None:
    """Item 22: a cookie that appears twice by semicolon or comma is ambiguous; crumbs of HTTP/2 are not."""
    assert find(request({"cookie": lines}), CookiePlace("token")) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "none"),
        ("a=1", "none"),
        (f"access_token={TOKEN}", TOKEN),
        (f"a=1&access_token={TOKEN}&b", TOKEN),
        (f"%61ccess_token={TOKEN}", TOKEN),
        (f"access%5ftoken={quote(TOKEN)}", TOKEN),
        (f"access_token={TOKEN}&%61ccess_token={TOKEN}", "credentials-ambiguous"),
        (f"access_token={TOKEN}&access_token=", "credentials-ambiguous"),
        (f"access_token={TOKEN};access_token=x", "credentials-ambiguous"),
        (f"a=1;access_token={TOKEN}", "credentials-ambiguous"),
        (f"Access_Token={TOKEN}", "none"),
        ("access_token=", "token-malformed"),
        ("access_token", "token-malformed"),
        ("access_token=a+b", "token-malformed"),
        ("access_token=a%20b", "token-malformed"),
    ],
)
def test_query_keys_are_decoded_before_they_are_counted(query: str, expected: str) -> None:
    """T11, item 34: encoded spellings of the parameter are the parameter; it may appear once."""
    assert find(request(query=query), QueryPlace("access_token")) == expected


def test_query_and_cookie_tokens_are_off_unless_configured() -> None:
    """T11: a token in a place that no provider names is no credential."""
    assert find(request({"cookie": f"token={TOKEN}"}, query=f"access_token={TOKEN}")) == "none"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([f"chat, bearer.{TOKEN}"], TOKEN),
        ([f"bearer.{TOKEN}"], TOKEN),
        (["chat", f"bearer.{TOKEN}"], TOKEN),
        (["chat"], "none"),
        (["bearer"], "none"),
        ([f"Bearer.{TOKEN}"], "none"),
        (["bearer."], "token-malformed"),
        ([f"bearer.{TOKEN}, bearer.{TOKEN}"], "credentials-ambiguous"),
        ([f"bearer.{TOKEN}", "bearer.x"], "credentials-ambiguous"),
    ],
)
def test_websocket_upgrades_may_carry_a_token_as_a_protocol(values: Sequence[str], expected: str) -> None:
    """Item 35: one element with the prefix, on upgrades only."""
    place = WebsocketProtocolPlace("bearer.")
    headers = {"sec-websocket-protocol": values}
    assert find(request(headers, websocket=True), place) == expected
    assert find(request(headers), place) == "none"


def test_a_websocket_place_needs_a_prefix() -> None:
    """Without one, every subprotocol would be a token."""
    with pytest.raises(ValueError, match="prefix"):
        WebsocketProtocolPlace("")


@pytest.mark.parametrize("name", ["", "Authorization"])
def test_a_header_place_has_a_lower_case_name(name: str) -> None:
    """Under another name no token would ever be found, and its bearer would pass for nobody."""
    with pytest.raises(ValueError, match="lower-case"):
        HeaderPlace(name)


def test_a_provider_takes_tokens_from_its_own_places_alone() -> None:
    """A good token in a place of another provider is refused: its issuer is not known there."""
    other = provider(name="other", issuer="https://other.example/", places=(CookiePlace("token"),))
    both = authenticator(provider(), other)
    assert word(both.authenticate(request({"cookie": f"token={mint()}"}))) == "issuer-unknown"
    assert (
        word(both.authenticate(request({"cookie": f"token={mint({'iss': 'https://other.example/'})}"}))) == "identity"
    )


ALL_PLACES: tuple[Place, ...] = (
    BEARER,
    HeaderPlace("x-token", ""),
    CookiePlace("token"),
    QueryPlace("token"),
    WebsocketProtocolPlace("bearer."),
)


@given(
    headers=st.dictionaries(
        st.sampled_from(["authorization", "cookie", "x-token", "sec-websocket-protocol"]),
        st.lists(
            st.text(max_size=30) | st.sampled_from([f"Bearer {TOKEN}", f"token={TOKEN}", f"bearer.{TOKEN}"]), max_size=3
        ),
    ),
    query=st.text(max_size=40),
    websocket=st.booleans(),
)
def test_no_request_upsets_the_reader(headers: dict[str, Any], query: str, websocket: bool) -> None:
    """Any headers and query give a credential, a denial or nothing, and never a token with white space in it."""
    found = CredentialReader({"p": ALL_PLACES}).find(request(headers, query=query, websocket=websocket))
    assert found is None or isinstance(found, Deny) or " " not in found.token
