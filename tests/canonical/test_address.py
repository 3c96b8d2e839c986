"""The canonical address: one value however it is spelled."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.canonical import address as address_module
from extauthz.canonical import canonical_address


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::FFFF:0A01:0203", "10.1.2.3"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("0000:0000:0000:0000:0000:ffff:255.255.255.255", "255.255.255.255"),
    ],
)
def test_each_address_has_one_value(raw: str, canonical: str) -> None:
    """An IPv4 address written as IPv6 is the IPv4 address."""
    assert canonical_address(raw) == ip_address(canonical)


@pytest.mark.parametrize("raw", ["", "x", "10.1.2", "010.1.2.3", "1.2.3.4:80", "1.2.3.4 ", "fe80::1%eth0", "@unix"])
def test_what_is_no_address_has_none(raw: str) -> None:
    """Nothing is repaired; a zone means nothing to another machine."""
    assert canonical_address(raw) is None


@given(st.text(max_size=60))
def test_no_text_raises(raw: str) -> None:
    """There is an address or there is none."""
    canonical_address(raw)


def test_a_long_text_is_not_remembered() -> None:
    """A client's header can't fill the cache with its own text (I7)."""
    before = address_module._read.cache_info().currsize
    for number in range(100):
        assert canonical_address(f"{number}".ljust(10_000, "x")) is None
    assert address_module._read.cache_info().currsize == before
