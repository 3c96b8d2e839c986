"""Keys of what is counted: unambiguous, of one size, and telling nothing of whom they count.

Parts are joined with their lengths, so that ``("a:b", "c")`` and ``("a", "b:c")`` are two keys, and digested, so that a
key has 16 bytes whatever a client chose to be called, and a store that holds it holds no name.
"""

from hashlib import blake2b
from ipaddress import IPv6Address

from extauthz.model import IPAddress

__all__ = ["address_key", "charge_key", "charge_text", "counted_address", "key_of"]

_SIZE = 16
_HOST_BITS = 64
"""Of an IPv6 address; the other half is the network, and one client has all addresses of one."""


def charge_key(*parts: str) -> bytes:
    """The key of some texts in their order: 16 bytes, the same in every process."""
    return key_of(charge_text(*parts))


def charge_text(*parts: str) -> str:
    """The texts as one, of which each beginning is that of the first texts: for whoever has some of them beforehand."""
    return "".join([f"{len(part)}:{part}" for part in parts])


def key_of(text: str) -> bytes:
    """The key of what ``charge_text`` made, or of several such texts after each other."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_SIZE).digest()


def counted_address(address: IPAddress) -> str:
    """What addresses of one client have in common: the address itself, of IPv6 its /64."""
    if isinstance(address, IPv6Address):
        return f"6:{int(address) >> _HOST_BITS:x}"
    return f"4:{int(address):x}"


def address_key(address: IPAddress) -> bytes:
    """The key of a client's address."""
    return charge_key("address", counted_address(address))
