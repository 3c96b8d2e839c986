"""Where a listener listens, and whether it may.

An address is ``host:port``, ``[ipv6]:port`` or ``unix:/path``. The host is an IP address, or ``localhost``, which
means 127.0.0.1 whatever the resolver says: whether an address is loopback decides whether plaintext is safe there,
and a name can be made to mean anything. Everything here is a value; sockets are opened in ``sockets`` and by the
transports.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from extauthz.errors import ServingError

__all__ = ["Address", "Listener", "TcpAddress", "TlsFiles", "UnixAddress", "check_listener", "is_private"]
__all__ += ["parse_address"]

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):([0-9]{1,5})\Z")
_MAX_PORT = 65535
_MAX_UNIX_PATH = 107
"""Bytes, without the final NUL: ``sun_path`` of unix(7)."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """An IP address and a port; port 0 lets the system choose."""

    host: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        """Write the address as it is written in the configuration."""
        return f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a unix socket."""

    path: str

    def __str__(self) -> str:
        """Write the address as it is written in the configuration."""
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of a TLS listener. They are read again when they change."""

    cert_file: str
    """The server's certificate, followed by its intermediates."""
    key_file: str
    """The unencrypted private key of the first certificate in ``cert_file``."""
    client_ca_file: str | None = None
    """The authorities whose client certificates are accepted; given, every client must show one."""
    client_principals: tuple[str, ...] = ()
    """The URI or DNS names, of which a client's certificate must carry one; empty: any certificate that verifies."""
    client_optional: bool = False
    """A client may do without; one that it shows must be accepted all the same."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener as the operator wants it."""

    address: Address
    plaintext: bool = False
    """True: plaintext was asked for by name, so that the address need not be loopback."""
    socket_mode: int = 0o660
    """The permission bits of a unix socket."""
    tls: TlsFiles | None = None


def is_private(listener: Listener) -> bool:
    """Whether only those can ask a listener who are on this machine, or show a certificate."""
    address, tls = listener.address, listener.tls
    beside = isinstance(address, UnixAddress) or address.host.is_loopback
    return beside or (tls is not None and tls.client_ca_file is not None and not tls.client_optional)


def parse_address(text: str) -> Address:
    """Read an address as it is written in the configuration.

    Raises ServingError, whose text says what an address looks like.
    """
    if text.startswith("unix:"):
        return _parse_unix(text)
    match = _HOST_PORT.match(text)
    if not match:
        wanted = "127.0.0.1:9000, [::1]:9000 or unix:/run/extauthz/check.sock"
        hint = f"; for every address of the machine write 0.0.0.0{text} or [::]{text}" if text[:1] == ":" else ""
        raise ServingError(f"{text!r} is not an address like {wanted}{hint}")
    bracketed, bare, digits = match.groups()
    port = int(digits)
    if port > _MAX_PORT:
        raise ServingError(f"{text!r}: port {port} is over {_MAX_PORT}")
    if bare == "localhost":
        return TcpAddress(IPv4Address("127.0.0.1"), port)
    try:
        host = ip_address(bracketed or bare)
    except ValueError:
        host = None
    if host is None or (bracketed is not None) != (host.version == 6):  # noqa: PLR2004
        raise ServingError(
            f"{text!r}: the host must be an IP address (IPv6 in brackets) or localhost, since names can change"
        )
    return TcpAddress(host, port)


def _parse_unix(text: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    # gRPC also writes an absolute path as unix:///path.
    path = path.removeprefix("//") if path.startswith("///") else path
    if not path or path.endswith("/") or path.startswith(("//", "@")) or "\0" in path:
        raise ServingError(f"{text!r} is not the path of a unix socket, as in unix:/run/extauthz/check.sock")
    length = len(path.encode())
    if length > _MAX_UNIX_PATH:
        raise ServingError(
            f"{text!r}: the path of a unix socket has at most {_MAX_UNIX_PATH} bytes, this one has {length}"
        )
    return UnixAddress(path)


def check_listener(name: str, listener: Listener) -> str | None:
    """Say why a listener must not be opened: the setting, the reason, the way out. None if it may be.

    ``name`` is the setting's path, such as ``listen.check``.
    """
    tls = listener.tls
    if tls is not None:
        if listener.plaintext:
            return f"{name}: plaintext and tls exclude each other; remove one of them"
        if tls.client_principals and tls.client_ca_file is None:
            return (
                f"{name}.tls.clientPrincipals: without clientCaFile no client has to show a certificate; "
                f"set {name}.tls.clientCaFile to the authority that signs your proxies' certificates"
            )
        return None
    address = listener.address
    if isinstance(address, UnixAddress) or address.host.is_loopback or listener.plaintext:
        return None
    return (
        f"{name}.address: {address} can be reached from other machines and is plaintext, so anyone on the way can read "
        f"tokens and forge answers; set {name}.tls, or use a loopback address or a unix socket; where a mesh already "
        f"encrypts this traffic, say so with {name}.plaintext: true"
    )
