"""Names and passwords in one way only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity.basic_form import MAX_BASIC_SIZE, SignIn, read_basic


def basic(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("alice:wonderland", "alice", "wonderland"),
        ("alice:a:b:", "alice", "a:b:"),
        ("alice::", "alice", ":"),
        ("test:123£", "test", "123£"),
        ("zoë@example.org: ", "zoë@example.org", " "),
        ("a" * 256 + ":" + "b" * 1024, "a" * 256, "b" * 1024),
    ],
)
def test_good_credentials(text: str, username: str, password: str) -> None:
    """RFC 7617 2: all behind the first colon is the password, and both are UTF-8."""
    assert read_basic(basic(text)) == SignIn(username, password)


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("", "no colon"),
        (basic("alice"), "no colon"),
        (basic(":wonderland"), "is empty"),
        (basic("alice:"), "is empty"),
        (basic(":"), "is empty"),
        (basic("alice:wonder\0land"), "control character"),
        (basic("alice:\0"), "control character"),
        (basic("alice\n:wonderland"), "control character"),
        (basic("alice:wonder\x7fland"), "control character"),
        (basic("al\x85ice:wonderland"), "control character"),
        (basic(b"alice:\xff\xfe"), "not UTF-8"),
        (basic(b"alice:\xed\xa0\x80"), "not UTF-8"),
        (basic(b"alice:\xc0\x80"), "not UTF-8"),
        ("YWxpY2U6eA", "not base64"),
        ("YWxpY2U6eA==" * 2, "not base64"),
        ("YWxpY2U6eA= =", "not base64"),
        ("YWxpY2U6eA==\n", "not base64"),
        ("YWxpY2U6-_8=", "not base64"),
        ("YWxpY2U6eA===", "not base64"),
        ("=YWxpY2U6eA==", "not base64"),
        ("YWxpY2U6eB==", "spare bits"),
        (basic("a" * 257 + ":b"), "too long"),
        (basic("a:" + "b" * 1025), "too long"),
        ("A" * (MAX_BASIC_SIZE + 4), "too long"),
    ],
)
def test_bad_credentials(token: str, fault: str) -> None:
    """T12: one pair has one spelling, and what could be read as an empty or a shorter password is no password."""
    found = read_basic(token)
    assert isinstance(found, str)
    assert fault in found


@given(st.binary(max_size=40) | st.text(max_size=30).map(str.encode))
def test_what_is_read_is_what_was_sent(raw: bytes) -> None:
    """Whatever is accepted spells the same bytes again, and holds no control character."""
    found = read_basic(basic(raw))
    if isinstance(found, SignIn):
        assert f"{found.username}:{found.password}".encode() == raw
        assert ":" not in found.username
        assert found.password
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in raw.decode())


@given(st.text(max_size=40))
def test_no_text_is_a_fault(token: str) -> None:
    """Any header's text is read or refused, without an exception and without being quoted."""
    found = read_basic(token)
    if isinstance(found, str) and len(token) > 12:
        assert token not in found


def test_nothing_is_shown() -> None:
    """I6: the value's representation holds neither name nor password."""
    found = read_basic(basic("alice:wonderland"))
    assert "alice" not in repr(found)
    assert "wonderland" not in repr(found)
