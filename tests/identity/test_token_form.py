"""The form of a token is checked before anything in it is believed (docs/security.md T1 to T7, T24)."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity.token_form import MAX_TOKEN_SIZE, CompactToken, base64url_decode, read_token
from extauthz.model import Deny, Reason
from tests.identity.issuer import b64, judge, mint, without, word


@pytest.mark.parametrize("token", ["", ".", "a.b", "a.b.c.d", "a.b.c.d.e", "." * 300, "....", "abc"])
def test_a_token_has_exactly_two_dots(token: str) -> None:
    """T1, T7: any other number of dots is no compact JWS."""
    outcome = read_token(token)
    assert isinstance(outcome, Deny)
    assert outcome.reason is Reason.TOKEN_MALFORMED


def test_an_encrypted_token_is_named_as_such() -> None:
    """T7: five parts are a JWE, and the detail says so."""
    outcome = read_token("a.b.c.d.e")
    assert isinstance(outcome, Deny)
    assert "encrypted" in outcome.detail


def test_size_is_limited_before_decoding() -> None:
    """T2: a token one character over the limit is refused, and a megabyte costs next to nothing."""
    good = mint()
    assert isinstance(read_token(good), CompactToken)
    assert word(judge(good + "A" * (MAX_TOKEN_SIZE - len(good) + 1))) == "token-malformed"
    began = time.process_time()
    read_token("A" * 1_000_000 + "." * 1_000_000)
    assert time.process_time() - began < 0.05


def test_header_and_signature_have_limits_of_their_own() -> None:
    """T2: a signature longer than any key makes, or a header of 10 kB, is refused."""
    head, body, _ = mint().split(".")
    assert word(judge(f"{head}.{body}.{'A' * 2052}")) == "token-malformed"
    assert word(judge(mint(header={"x5c": "A" * 10_000}))) == "token-malformed"


@pytest.mark.parametrize("change", ["=", "+", "/", " ", "\t", "?", "é", "\x00", "%41", "\n"])
def test_only_the_base64url_alphabet_is_read(change: str) -> None:
    """T3: padding, the other alphabet, white space and other characters are refused in every part."""
    parts = mint().split(".")
    for index in range(3):
        changed = [part[:8] + change + part[8:] if i == index else part for i, part in enumerate(parts)]
        assert word(judge(".".join(changed))) in {"token-malformed", "credentials-ambiguous"}


def test_a_token_has_one_spelling() -> None:
    """T3, T12: a signature spelt with other unused bits is refused, so no denylist can be dodged."""
    token = mint()
    assert word(judge(token)) == "identity"
    others = [token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    verdicts = [word(judge(other)) for other in others]
    assert verdicts.count("identity") == 1
    assert verdicts.count("token-malformed") == 64 - 4


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"",
        b" ",
        b"{}{}",
        b"{} x",
        b"{",
        b'{"a":1,}',
        b"{'a':1}",
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\n"}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":9223372036854775808}',
        b'{"a":0.' + b"1" * 100 + b"}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":' + b"[" * 33 + b"]" * 33 + b"}",
        b"[" * 10_000,
        b'{"a":' * 1900,
        b'{"a":[' + b"[]," * 600 + b"1]}",
        b'{"a":[' + b"1," * 2050 + b"1]}",
    ],
)
def test_payload_and_header_are_strict_json_objects(payload: bytes) -> None:
    """T4, T5, T6: what is not one object in UTF-8 that every parser reads alike is refused, in payload and header."""
    assert word(judge(mint(payload=payload))) == "token-malformed"
    assert word(judge(mint(raw_header=payload))) == "token-malformed"


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_reader(content: bytes) -> None:
    """T4: any payload and header give a value, never an exception."""
    for token in (f"{b64(content)}.{b64(b'{}')}.", f"{b64(b'{}')}.{b64(content)}.", content.decode("latin-1")):
        assert isinstance(read_token(token), CompactToken | Deny)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    """Strictness refuses, it never changes: what is read equals what was written."""
    token = read_token(f"{b64(b'{}')}.{b64(json.dumps({'v': value}).encode())}.")
    assert isinstance(token, CompactToken)
    assert token.unverified_claims == {"v": value}


@given(st.binary(max_size=50))
def test_base64url_reads_each_value_in_one_spelling(content: bytes) -> None:
    """T3: what is decoded encodes to the same text again."""
    assert base64url_decode(b64(content)) == content
    text = content.decode("latin-1")
    decoded = base64url_decode(text)
    assert decoded is None or b64(decoded) == text


def test_unfinished_strings_cost_linear_time() -> None:
    """T6: a payload of brackets and escaped quotes that never ends is refused quickly."""
    began = time.process_time()
    judge(mint(payload=b"[" * 40 + b'"' + b'\\"' * 5500))
    assert time.process_time() - began < 0.05


@pytest.mark.parametrize("crit", [[], ["exp"], ["b64"], "exp", None, ["alg", "alg"], {}])
def test_crit_is_refused_whatever_it_holds(crit: Any) -> None:
    """T24: no extension is understood, so none may be critical."""
    assert word(judge(mint(header={"crit": crit, "exp": 1}))) == "token-malformed"


@pytest.mark.parametrize("name", ["b64", "zip", "enc"])
def test_other_kinds_of_jose_objects_are_refused(name: str) -> None:
    """T7: unencoded, compressed and encrypted payloads are no bearer tokens."""
    assert word(judge(mint(header={name: False}))) == "token-malformed"


@pytest.mark.parametrize("kid", [1, None, ["k1"], {"k": 1}, True, "x" * 1025])
def test_kid_is_a_short_string(kid: Any) -> None:
    """T22: a kid of another type or 1 kB is refused."""
    assert word(judge(mint(header={"kid": kid}))) == "token-malformed"


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "a\x00b", "' OR 1=1 --", "", "K1", "k1 ", "https://evil.example/k"]
)
def test_kid_is_only_ever_looked_up(kid: str) -> None:
    """T22: a kid that is a path, a URL or a query is just a name that no key has."""
    assert word(judge(mint(header={"kid": kid}))) in {"key-unknown", "token-malformed"}


def test_half_a_surrogate_in_the_header_is_refused() -> None:
    """T4: text that is no Unicode text is refused in the header."""
    assert word(judge(mint(raw_header=b'{"alg":"RS256","kid":"\\ud800"}', signed_as="RS256"))) == "token-malformed"


def test_typ_is_a_string() -> None:
    """T39: a typ of another type is refused; one that is absent is not."""
    assert word(judge(mint(header={"typ": 1}))) == "token-malformed"
    assert word(judge(mint(header=without("typ")))) == "identity"


def test_nothing_of_a_token_shows_in_its_repr() -> None:
    """I6: claims, payload and signature stay out of logs that print a token's parts."""
    token = read_token(mint({"sub": "top-secret-subject"}))
    assert isinstance(token, CompactToken)
    assert "top-secret-subject" not in repr(token)
    assert repr(token.signature) not in repr(token)
