"""Keys of what is counted: two things never share one, and nobody can choose theirs."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.canonical import address_key, canonical_address, charge_key

PARTS = st.lists(st.text(max_size=5), max_size=4)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("a:b", "c"), ("a", "b:c")),
        (("ab", "c"), ("a", "bc")),
        (("a", ""), ("", "a")),
        (("a",), ("a", "")),
        ((), ("",)),
        (("a", "\x00\x00\x00\x00\x00\x00\x00\x01b"), ("a", "b")),
    ],
)
def test_parts_can_not_run_into_one_another(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    """A caller who may choose its name can't choose somebody else's key."""
    assert charge_key(*left) != charge_key(*right)


@given(PARTS, PARTS)
def test_keys_are_equal_if_the_parts_are(left: list[str], right: list[str]) -> None:
    """And only then."""
    assert (charge_key(*left) == charge_key(*right)) == (left == right)


@given(PARTS)
def test_a_key_has_16_bytes(parts: list[str]) -> None:
    """However long a name is."""
    assert len(charge_key(*parts)) == len(charge_key(*parts, "x" * 100_000)) == 16


def test_a_key_is_the_same_in_every_process() -> None:
    """Replicas that share a store mean the same caller."""
    assert charge_key("policy", "rule", "caller", "corporate", "alice").hex() == "dfa97aaac8a54b1a7301f4f472adad5f"


def test_a_lone_surrogate_has_a_key() -> None:
    """What JSON can say must not raise here."""
    assert charge_key("\ud800") != charge_key("\ud801")


def test_an_ipv6_network_is_one_client() -> None:
    """Who has a /64 has all of its addresses, and may not have a rate for each."""
    assert address_key(ip_address("2001:db8::1")) == address_key(ip_address("2001:db8::ffff:1:2:3"))
    assert address_key(ip_address("2001:db8::1")) != address_key(ip_address("2001:db8:0:1::1"))


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_each_ipv4_address_is_a_client(left: IPv4Address, right: IPv4Address) -> None:
    """Two of one network are two."""
    assert (address_key(left) == address_key(right)) == (left == right)


@given(st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_no_ipv4_address_is_an_ipv6_network(four: IPv4Address, six: IPv6Address) -> None:
    """Not even one whose number is the same."""
    assert address_key(four) != address_key(six)
    assert address_key(four) != address_key(IPv6Address(int(four) << 64))


@pytest.mark.parametrize("text", ["::ffff:10.0.0.1", "::ffff:a00:1", "10.0.0.1"])
def test_an_ipv4_client_of_an_ipv6_listener_is_the_same_client(text: str) -> None:
    """Else there would be one /64 for all of IPv4."""
    address = canonical_address(text)
    assert address is not None
    assert address_key(address) == address_key(ip_address("10.0.0.1"))
