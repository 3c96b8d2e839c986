"""Where servers of the mesh listen."""

import socket

import pytest

from mesh.address import AddressError, free_address, free_addresses, parse_address

FIRST_OUTGOING = 32_768
"""Of Linux' default range of ports for outgoing connections, net.ipv4.ip_local_port_range."""


def port(address: str) -> int:
    return parse_address(address).port


def test_a_port_is_never_one_for_outgoing_connections() -> None:
    """One of those could be taken by any connection between the look and the use."""
    addresses = free_addresses(*[0] * 20)
    assert len(set(addresses)) == 20
    assert all(port(address) < FIRST_OUTGOING for address in addresses)


def test_a_preferred_port_is_taken_where_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", port(free_address()))) as taken:
        number = taken.getsockname()[1]
        assert port(free_address(number)) != number
    assert port(free_address(number)) == number


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "unix:relative"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)
