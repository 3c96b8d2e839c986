"""Patterns for hosts, methods, ports, principals and addresses: read once, then asked with ``in``.

A policy's lists become sets with one question, ``value in patterns``, and what is absent (an empty string, None, port 0)
is in none of them: so no matcher needs to think of it. The readers raise ``ValueError`` with a sentence for the person
who wrote the pattern; they are called by the form (``extauthz.policy.form``), which adds the place.

The words and wildcards are those of Istio's AuthorizationPolicy, except that a host's ``*.x`` never means a string suffix
but whole labels, and that addresses with bits beyond their mask are refused instead of cut.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from extauthz.canonical import canonical_host, looks_like_spiffe, read_spiffe_pattern
from extauthz.model import IPAddress

__all__ = ["HostPattern", "Hosts", "Network", "Networks", "Principals", "read_host", "read_method", "read_network"]
__all__ += ["read_port", "read_principal"]

Network = IPv4Network | IPv6Network

_METHOD = re.compile(r"[!#$%&'+.^_`|~0-9A-Z-]{1,64}\Z")
_DIGITS = re.compile(r"[0-9]{1,5}\Z")
_MAX_PORT = 65535
_MAX_TEXT = 2048
"""Of one pattern; a SPIFFE ID may have as many (https://github.com/spiffe/spiffe, SPIFFE-ID.md section 2.3)."""
_MAPPED = IPv6Network("::ffff:0:0/96")
"""The IPv4 addresses as IPv6; a canonical address is never one of them."""
_SPIFFE = "spiffe://"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host name, all names below one (``*.x``: one or more labels, never ``x`` itself), or any host (``*``)."""

    name: str
    """The literal, or what follows ``*.``; empty for any host."""
    below: bool
    """True for ``*.x`` and ``*``."""

    def __str__(self) -> str:
        """The pattern as it is written."""
        return f"*.{self.name}" if self.below and self.name else self.name or "*"

    @property
    def suffix(self) -> str:
        """``.x`` for ``*.x``."""
        return f".{self.name}"

    def overlaps(self, other: "HostPattern") -> bool:
        """Whether some host matches both."""
        if (self.below and not self.name) or (other.below and not other.name):
            return True
        if self.below and other.below:
            return self.suffix.endswith(other.suffix) or other.suffix.endswith(self.suffix)
        if self.below:
            return other.name.endswith(self.suffix)
        if other.below:
            return self.name.endswith(other.suffix)
        return self.name == other.name


class Hosts:
    """A set of host patterns."""

    __slots__ = ("_any", "_literals", "_suffixes")

    def __init__(self, patterns: Iterable[HostPattern]) -> None:
        """Sort the patterns by the way they are compared."""
        known = tuple(patterns)
        self._any = any(pattern.below and not pattern.name for pattern in known)
        self._literals = frozenset(pattern.name for pattern in known if not pattern.below)
        self._suffixes = tuple(pattern.suffix for pattern in known if pattern.below and pattern.name)

    def __contains__(self, host: str) -> bool:
        """Whether a canonical host matches; the empty one, of a request without HTTP, never does."""
        return host in self._literals or host.endswith(self._suffixes) or (self._any and host != "")


class Principals:
    """A set of principals: whole strings, ``prefix*``, ``*/suffix`` of SPIFFE IDs, or ``*`` for any."""

    __slots__ = ("_any", "_exact", "_prefixes", "_suffixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Sort the patterns by the way they are compared."""
        known = tuple(patterns)
        self._any = "*" in known
        self._exact = frozenset(text for text in known if "*" not in text)
        self._prefixes = tuple(text[:-1] for text in known if text != "*" and text.endswith("*"))
        self._suffixes = tuple(text[1:] for text in known if text != "*" and text.startswith("*"))

    def __contains__(self, principal: str) -> bool:
        """Whether a principal matches; the empty one, of a peer without certificate, never does."""
        if not principal:
            return False
        return (
            self._any
            or principal in self._exact
            or principal.startswith(self._prefixes)
            or (principal.startswith(_SPIFFE) and principal.endswith(self._suffixes))
        )


class Networks:
    """A set of address blocks, for canonical addresses."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[Network]) -> None:
        """Keep the blocks."""
        self._networks = tuple(networks)

    def __contains__(self, address: IPAddress | None) -> bool:
        """Whether an address is in one of the blocks; None never is."""
        return address is not None and any(address in network for network in self._networks)


def read_host(value: object) -> HostPattern:
    """Read a host pattern; letters are compared in lower case."""
    text = _text(value)
    if not text.isascii():
        raise ValueError(f"{value!r} is not ASCII: write the name as it stands in a request, as A-label (xn--...)")
    text = text.lower()
    if text == "*":
        return HostPattern("", below=True)
    below = text.startswith("*.")
    name = text[2:] if below else text
    if "*" in name:
        raise ValueError(f"{value!r} has a '*' that is no wildcard: only '*.x' (every name below x) and '*' are")
    canonical = canonical_host(name)
    if canonical.fault:
        raise ValueError(f"{value!r} is not a host: {canonical.fault}")
    if canonical.text != name:
        raise ValueError(
            f"{value!r} would never match: hosts are compared without port and final dot; "
            f"write {('*.' if below else '') + canonical.text!r}"
        )
    if below and name.startswith("["):
        raise ValueError(f"{value!r} is not a host: an address has no names below it")
    return HostPattern(name, below=below)


def read_method(value: object) -> str:
    """Read an HTTP method: a token in upper case, as methods are case-sensitive (RFC 9110 section 9.1)."""
    text = _text(value)
    if text == "*":
        raise ValueError("'*' is not a method: leave the key out to match any")
    if _METHOD.match(text):
        return text
    if _METHOD.match(text.upper()):
        raise ValueError(f"{text!r} would never match: methods are case-sensitive; write {text.upper()!r}")
    raise ValueError(f"{text!r} is not an HTTP method")


def read_port(value: object) -> int:
    """Read a port: a number, or digits as Istio has them."""
    if isinstance(value, str) and _DIGITS.match(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a port number")  # noqa: TRY004 - pydantic takes only ValueError as the writer's fault
    if not 1 <= value <= _MAX_PORT:
        raise ValueError(f"{value} is not a port: ports are 1 to {_MAX_PORT}")
    return value


def read_principal(value: object) -> str:
    """Read a principal: compared as a whole, or with one ``*`` at its begin or end.

    Envoy tells one name of a certificate, a URI, a DNS name or the subject, and the subject holds free text. So an end is
    always that of a SPIFFE ID, and ``*.example.com`` is refused: ``CN=x.example.com`` ends so as well.
    """
    text = _text(value)
    if looks_like_spiffe(text) or text.startswith("*"):
        if read_spiffe_pattern(text) is None:
            raise ValueError(
                f"{text!r} is no SPIFFE ID and no pattern of some: write 'spiffe://domain/path', "
                "'spiffe://domain/ns/shop/*', '*/ns/shop/sa/web' or '*'"
            )
    elif "*" in text[:-1]:
        raise ValueError(f"{text!r} has a '*' that is no wildcard: only one at the end is, or one before a slash")
    return text


def read_network(value: object) -> Network:
    """Read an address block (CIDR) or a single address."""
    text = _text(value)
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which means nothing to another machine")
    try:
        read = ip_network(text)
    except ValueError:
        pass
    else:
        if isinstance(read, IPv6Network) and read.subnet_of(_MAPPED):
            plain = IPv4Network((int(read.network_address) & 0xFFFFFFFF, read.prefixlen - _MAPPED.prefixlen))
            spelled = str(plain).removesuffix("/32")
            raise ValueError(f"{text!r} would never match: IPv4 addresses are compared as such; write {spelled!r}")
        return read
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor an address block such as 10.0.0.0/8") from None
    raise ValueError(f"{text!r} has bits set beyond its mask: write '{network}' for the block, or the bare address")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - as above
    if not value:
        raise ValueError("is empty")
    if len(value) > _MAX_TEXT:
        raise ValueError(f"has {len(value)} characters, and may have {_MAX_TEXT}")
    return value
