"""The canonical host: lower-case, without port and final dot.

``Host`` comes from the client verbatim: case, port, trailing dot and user information are kept by Envoy, it may be empty,
and two ``Host`` lines arrive as one list with a comma. Whatever is not exactly one host name is refused: virtual hosts of
another server could read it differently. Names must be A-labels (RFC 5891): nothing is converted here. A name that ends in
a number is an IPv4 address for whoever follows the URL Standard (``127.1``, ``0x7f000001``), so it must be one as it stands.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

__all__ = ["Host", "canonical_host"]

_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z"
)
_PORT: Final = re.compile(r":([0-9]{1,5})\Z")
_MAX_PORT: Final = 65535
_MAX_REMEMBERED: Final = 256
_NUMBER_AT_END: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z")
"""What the URL Standard's host parser takes for an IPv4 address, in whatever spelling."""


class Host(NamedTuple):
    """A canonical host, or why there is none."""

    text: str
    fault: str = ""
    """Why it is not one host; empty if it is."""


def canonical_host(raw: str) -> Host:
    """The canonical form of an authority (RFC 9110 section 7.2): host name or bracketed IPv6 address, port left out."""
    return _remembered(raw) if len(raw) <= _MAX_REMEMBERED else _read(raw)


def _read(raw: str) -> Host:
    if not raw.isascii():
        return Host("", "it is not ASCII")  # some letters beyond it have ASCII ones as lower case
    text = raw.lower()
    port = _PORT.search(text)
    if port:
        if int(port[1]) > _MAX_PORT:
            return Host("", "its port is out of range")
        text = text[: port.start()]
    if text.startswith("["):
        if "%" in text:
            return Host("", "it has a zone")
        try:
            return Host(f"[{IPv6Address(text[1:-1] if text.endswith(']') else '').compressed}]")
        except AddressValueError:
            return Host("", "it is not an IPv6 address in brackets")
    text = text.removesuffix(".")
    if not text:
        return Host("", "it is empty")
    if not _NAME.match(text):
        return Host("", "it is not one host name")
    if _NUMBER_AT_END.match(text) and not _is_ipv4(text):
        return Host("", "it ends in a number and is no IPv4 address in its usual spelling")
    return Host(text)


_remembered: Final = lru_cache(maxsize=4096)(_read)
"""A mesh serves few hosts. What clients make up takes their place for a moment, and no more memory than this many."""


def _is_ipv4(text: str) -> bool:
    """Whether a text is four decimal numbers without leading zeros."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
