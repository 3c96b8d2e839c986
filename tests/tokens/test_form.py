"""The form of a request is read in one way only (O1)."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.tokens.errors import OAuthError
from extauthz.tokens.form import MAX_FORM_SIZE, MAX_PARAMETERS, Form, read_form
from extauthz.tokens.http import HttpQuestion

TEXT = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=20)


def asked(body: bytes, *kinds: str) -> Form | OAuthError:
    headers = {"content-type": kinds or ("application/x-www-form-urlencoded",)}
    return read_form(HttpQuestion("POST", "/oauth2/token", "", headers, body))


@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=MAX_PARAMETERS))
def test_what_was_encoded_is_what_is_read(values: dict[str, str]) -> None:
    """Names and values come out as they went in; those without a value count as absent (RFC 6749 section 3.2)."""
    form = asked(urlencode(values).encode())
    assert isinstance(form, Form)
    assert {name: form.one(name) for name in values} == values
    assert all((name in form) is bool(value) for name, value in values.items())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_a_refusal(body: bytes) -> None:
    """Whatever arrives, nothing is raised; and what is taken, Python's own reader of forms reads in the same way."""
    form = asked(body)
    if isinstance(form, OAuthError):
        assert form.code == "invalid_request"
        return
    for name, value in parse_qsl(body.decode("ascii"), errors="strict"):
        assert value in form.all(name)


@pytest.mark.parametrize("name", ["grant_type", "client_id", "scope", "x"])
def test_a_parameter_twice_is_refused(name: str) -> None:
    """Two readers could take different ones, even if both are equal, or one is empty (O1)."""
    for second in ("b", "a", ""):
        assert isinstance(asked(f"{name}=a&y=1&{name}={second}".encode()), OAuthError)


def test_resource_may_be_repeated() -> None:
    """RFC 8707 section 2 says so."""
    form = asked(b"resource=a&resource=b")
    assert isinstance(form, Form)
    assert form.all("resource") == ("a", "b")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
def test_only_forms_are_read(kind: str) -> None:
    """Another type, no type, or two of them are refused."""
    assert isinstance(asked(b"a=b", kind), OAuthError)
    assert isinstance(asked(b"a=b", kind, "application/x-www-form-urlencoded"), OAuthError)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded; charset=UTF-8", "APPLICATION/x-www-form-URLENCODED"]
)
def test_the_type_may_have_parameters(kind: str) -> None:
    """As many clients send it."""
    assert isinstance(asked(b"a=b", kind), Form)


@pytest.mark.parametrize(
    "body", [b"a=%zz", b"a=%", b"a=%2", b"a=%ff", b"a=\xff", b"a=%00", b"a=x%0d%0ay", b"%0a=1", b"a=\x01"]
)
def test_unsound_encodings_are_refused(body: bytes) -> None:
    """Nothing is guessed, and no control character gets in."""
    assert isinstance(asked(body), OAuthError)


def test_size_and_number_are_bounded() -> None:
    """One more is refused."""
    assert isinstance(asked(b"a=" + b"x" * (MAX_FORM_SIZE - 2)), Form)
    assert isinstance(asked(b"a=" + b"x" * (MAX_FORM_SIZE - 1)), OAuthError)
    many = b"&".join(b"p%d=1" % number for number in range(MAX_PARAMETERS))
    assert isinstance(asked(many), Form)
    assert isinstance(asked(many + b"&q=1"), OAuthError)
