"""Which addresses may be dialled (docs/security.md T52)."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.fetch.addresses import is_allowed, resolve

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.96.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "::10.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
]
NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "::ffff:0.0.0.0",
    "2001:0:a9fe:a9fe::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_global_addresses_are_allowed(address: str) -> None:
    """T52: what the internet can reach may be dialled."""
    assert is_allowed(ip_address(address), allow_private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_allowed_on_demand(address: str) -> None:
    """T52: private, shared, loopback and reserved addresses, embedded ones too, only where it was asked for."""
    assert not is_allowed(ip_address(address), allow_private=False)
    assert is_allowed(ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_metadata_services_are_never_dialled(address: str) -> None:
    """T52: link-local addresses, cloud metadata, multicast and no address at all are refused whatever was asked for."""
    assert not is_allowed(ip_address(address), allow_private=False)
    assert not is_allowed(ip_address(address), allow_private=True)


@given(st.ip_addresses(v=4), st.booleans())
def test_an_embedded_address_is_judged_as_itself(address: IPv4Address, private: bool) -> None:
    """T52: IPv6 spellings of an IPv4 address open no way around."""
    mapped = ip_address(f"::ffff:{address}")
    translated = ip_address(int(ip_address("64:ff9b::")) + int(address))
    tunnelled = ip_address((0x2002 << 112) + (int(address) << 80) + 1)
    verdicts = {is_allowed(each, allow_private=private) for each in (address, mapped, translated, tunnelled)}
    assert len(verdicts) == 1


async def test_literal_addresses_resolve_to_themselves() -> None:
    """No name service is asked about an address; odd spellings of one are read by the system, then judged."""
    assert await resolve("127.0.0.1", 80) == [ip_address("127.0.0.1")]
    assert await resolve("::1", 80) == [ip_address("::1")]
    for spelling in ("2130706433", "0x7f.1", "127.1"):
        assert not any(is_allowed(address, allow_private=False) for address in await resolve(spelling, 80))
