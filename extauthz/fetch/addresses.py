"""Which addresses may be dialled: the guard against requests that somebody else aims (SSRF).

A URL that comes from a discovery document, or a name whose DNS answer changes, must not turn this process into a door to
the network that it lives in. So a name is resolved once, each address is judged, and the connection goes to a judged
address: nothing resolves the name again in between (DNS rebinding).

An issuer inside the cluster is usual, so private addresses can be allowed per provider. Link-local addresses and the
metadata services of clouds can't: nothing there issues tokens to us, and much there hands out credentials.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["allowed_addresses", "is_allowed", "resolve"]

_Address = IPv4Address | IPv6Address

_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)
"""AWS, Google, Azure and others; Alibaba; Azure's wire server; Oracle; AWS over IPv6."""

_NAT64 = tuple(IPv6Network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48"))
_6TO4 = IPv6Network("2002::/16")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_MULTICAST = tuple(ip_network(net) for net in ("224.0.0.0/4", "ff00::/8"))


async def resolve(host: str, port: int) -> list[_Address]:
    """The addresses of a host, as the system resolves it and in its order. A literal address is its own.

    Raises:
        OSError: The name can't be resolved.
    """
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in answers))


def allowed_addresses(addresses: Sequence[_Address], *, allow_private: bool) -> list[_Address]:
    """Those of the addresses that may be dialled."""
    return [address for address in addresses if is_allowed(address, allow_private=allow_private)]


def is_allowed(address: _Address, *, allow_private: bool) -> bool:
    """Whether an address may be dialled: global ones, and with ``allow_private`` those of private use and loopback."""
    address = _embedded(address)
    if address in _METADATA or address.is_link_local or address.is_unspecified:
        return False
    if address.is_multicast or any(address in net for net in _MULTICAST if net.version == address.version):
        return False
    if isinstance(address, IPv6Address) and (address.is_site_local or address.teredo is not None):
        return False
    return allow_private or address.is_global


def _embedded(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _6TO4:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    if any(address in net for net in _NAT64) or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
