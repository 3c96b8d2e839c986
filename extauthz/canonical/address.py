"""The canonical address: one value for each, however it is spelled.

A listener for both families tells IPv4 peers as IPv6 (``::ffff:10.0.0.1``). That is the IPv4 address, and nothing else is
repaired: whatever is not exactly one address is none.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from extauthz.model import IPAddress

__all__ = ["canonical_address"]

_MAX_LENGTH = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")


def canonical_address(text: str) -> IPAddress | None:
    """The address that a text is, without port; None if it is none, or has a zone."""
    return _read(text) if len(text) <= _MAX_LENGTH else None


@lru_cache(maxsize=4096)
def _read(text: str) -> IPAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return None
        return address.ipv4_mapped or address
    return address
