"""What an API key looks like."""

import secrets
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.identity.api_key_form import key_id_of, new_key

ALPHABET = string.digits + string.ascii_letters
prefixes = st.from_regex(r"[a-z][a-z0-9]{1,14}_", fullmatch=True)


def test_a_key_is_recognisable() -> None:
    """Prefix, id, 256 bits in base62 and a checksum: nothing that needs quotes, and a form to search for."""
    key = new_key("eak_", secrets.token_bytes)
    prefix, number, secret = key.split("_")
    assert (prefix, len(number), len(secret)) == ("eak", 12, 49)
    assert set(number + secret) <= set(ALPHABET)
    assert key_id_of(key) == f"eak_{number}"


@settings(deadline=None)
@given(prefixes, st.binary(min_size=32, max_size=32))
def test_every_key_is_one(prefix: str, random: bytes) -> None:
    """Whatever the random bytes, the key has its form and its id."""
    key = new_key(prefix, lambda size: random[:size])
    assert len(key) == len(prefix) + 62
    assert key_id_of(key) == key[: len(prefix) + 12]


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_different_bytes_make_different_keys(one: bytes, other: bytes) -> None:
    """Nothing of the 256 bits is lost."""
    keys = {new_key("eak_", lambda size, random=random: random[:size]) for random in (one, other)}  # type: ignore[misc]
    assert len(keys) == len({one, other})


@settings(deadline=None)
@given(st.data())
def test_a_mistyped_key_is_none(data: st.DataObject) -> None:
    """One character changed, lost, added or moved: the checksum tells."""
    key = new_key("eak_", lambda size: b"\x5a" * size)
    place = data.draw(st.integers(4, len(key) - 1))
    letter = data.draw(st.sampled_from(ALPHABET))
    wrong = data.draw(
        st.sampled_from(
            [
                key[:place] + letter + key[place + 1 :],
                key[:place] + key[place + 1 :],
                key[:place] + letter + key[place:],
                key[:place],
                key + letter,
            ]
        )
    )
    assert (key_id_of(wrong) is None) is (wrong != key)


@settings(deadline=None)
@given(st.text(max_size=100) | st.text(alphabet=ALPHABET + "_", min_size=60, max_size=70))
def test_any_text_is_read_without_an_error(text: str) -> None:
    """What is no key is None, whatever it holds."""
    assert key_id_of(text) is None


@pytest.mark.parametrize("tail", ["\n", " ", "\0", "é", "٣"])
def test_a_key_ends_where_it_ends(tail: str) -> None:
    """Nothing after it, no digits of other scripts."""
    key = new_key("eak_", secrets.token_bytes)
    assert key_id_of(key + tail) is None
    assert key_id_of(key[:-1] + tail) is None
