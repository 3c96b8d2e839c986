"""Addresses that a listener can be bound to: ``127.0.0.1:9000``, ``[::1]:9000``, ``localhost:9000``, ``unix:/run/x.sock``.

What a person writes is brought into one spelling here. Whether plaintext is safe at an address must be known from its
text, so a host is an IP address, or ``localhost``, which is 127.0.0.1 whatever a resolver says: any other name can be
made to mean anything without somebody touching the configuration.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from extauthz.config.fields import Text, located
from extauthz.documents import FieldError

__all__ = ["Address", "Place", "place"]

_TCP = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+|localhost)):(?P<port>[0-9]{1,5})\Z")
_NO_HOST = re.compile(r"\*?:([0-9]{1,5})\Z")
_UNIX = "unix:"
_MAX_PORT = 65535
_MAX_UNIX_PATH = 107
"""``sun_path`` is 108 bytes with its final NUL on Linux (unix(7))."""
_EXAMPLES = (
    "write it as 127.0.0.1:9000, [::1]:9000 or unix:/run/extauthz/check.sock; host names can change their meaning"
)


@dataclass(frozen=True, slots=True)
class Place:
    """An address taken apart."""

    ip: IPv4Address | IPv6Address | None = None
    """None for a unix socket."""
    port: int = 0
    """0 lets the system choose a free one."""
    path: str = ""
    """Of a unix socket."""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it: a loopback address or a unix socket."""
        return self.ip is None or self.ip.is_loopback

    def collides(self, other: "Place") -> bool:
        """Whether two listeners can't have these addresses at the same time."""
        if self.ip is None or other.ip is None:
            return self.ip == other.ip and self.path == other.path
        same = self.ip == other.ip or self.ip.is_unspecified or other.ip.is_unspecified
        return same and self.port == other.port != 0

    def __str__(self) -> str:
        """The one spelling of the address."""
        if self.ip is None:
            return _UNIX + self.path
        return f"[{self.ip}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{self.ip}:{self.port}"


def place(address: str) -> Place:
    """Take an address apart. Raises FieldError if it is not one that a listener can have."""
    if address.startswith((_UNIX, "unix-")):
        return _unix(address)
    no_host = _NO_HOST.match(address)
    if no_host:
        port = no_host[1]
        message = "needs a host before the port"
        raise FieldError(message, f"127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} or [::]:{port} for all")
    match = _TCP.match(address)
    if not match:
        message = f"{address!r} is not an IP address with a port"
        raise FieldError(message, _EXAMPLES)
    if int(match["port"]) > _MAX_PORT:
        message = f"port {match['port']} is out of range"
        raise FieldError(message, f"from 0 to {_MAX_PORT}; 0 takes a free one")
    try:
        ip = IPv6Address(match["six"]) if match["six"] else IPv4Address(match["four"].replace("localhost", "127.0.0.1"))
    except ValueError:
        message = f"{address!r} is not an IP address with a port"
        raise FieldError(message, _EXAMPLES) from None
    return Place(ip=ip, port=int(match["port"]))


def _unix(address: str) -> Place:
    path = re.sub(r"\A//+", "/", address.removeprefix(_UNIX))
    if not address.startswith(_UNIX) or not path or path.endswith("/") or path.startswith("@"):
        message = f"{address!r} is not the address of a unix socket"
        raise FieldError(message, "write unix:/run/extauthz/check.sock; abstract sockets have no access rights")
    if len(path.encode()) > _MAX_UNIX_PATH:
        message = f"the path of a unix socket can't be longer than {_MAX_UNIX_PATH} bytes"
        raise FieldError(message, "choose a folder nearer to the root")
    return Place(path=path)


def _joined(value: Any, info: ValidationInfo) -> Any:
    """Join the path of a unix socket to the folder of the file that names it, as any other path."""
    if isinstance(value, str) and value.startswith(_UNIX) and value[-1] not in ":/@" and value[len(_UNIX)] != "@":
        return _UNIX + located(type(value)(value.removeprefix(_UNIX)), info)
    return value


def _spelled(address: str) -> str:
    return str(place(address))


Address = Annotated[Text, AfterValidator(_spelled), BeforeValidator(_joined)]
"""Where a listener listens, in one spelling."""
