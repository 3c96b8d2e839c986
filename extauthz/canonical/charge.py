"""Keys of what is counted: unambiguous, of one size, and telling nothing of whom they count.

Parts are joined with their lengths, so that ``("a:b", "c")`` and ``("a", "b:c")`` are two keys, and digested, so that a
key has 16 bytes whatever a client chose to be called, and a store that holds it holds no name.
"""

from hashlib import blake2b
from ipaddress import IPv6Address

from extauthz.model import IPAddress

__all__ = ["address_key", "charge_key"]

_SIZE = 16
_HOST_BITS = 64
"""Of an IPv6 address; the other half is the network, and one client has all addresses of one."""


def charge_key(*parts: str) -> bytes:
    """The key of some texts in their order: 16 bytes, the same in every process."""
    digest = blake2b(digest_size=_SIZE)
    for part in parts:
        text = part.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return digest.digest()


def address_key(address: IPAddress) -> bytes:
    """The key of a client's address: of IPv6 its /64."""
    if isinstance(address, IPv6Address):
        return charge_key("address", "6", f"{int(address) >> _HOST_BITS:x}")
    return charge_key("address", "4", str(address))
