"""URLs that may be fetched, and on which conditions."""

from dataclasses import dataclass
from typing import Protocol

import httpx2

from extauthz.errors import UpstreamError

__all__ = ["PORTS", "Reach", "Target", "checked_target"]

PORTS = {"https": 443, "http": 80}


class Reach(Protocol):
    """How a URL may be reached. ``extauthz.identity.FetchSettings`` is one."""

    @property
    def ca_file(self) -> str | None:
        """PEM certificates instead of the system's trust store."""
        ...

    @property
    def token_file(self) -> str | None:
        """A file with a bearer token for the first URL's origin."""
        ...

    @property
    def allow_private_addresses(self) -> bool:
        """Private and loopback addresses may be dialled."""
        ...

    @property
    def allow_http(self) -> bool:
        """Plain HTTP may be spoken."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked, and what names it in errors: never its path or query, which may hold secrets."""

    url: httpx2.URL
    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def checked_target(url: str, settings: Reach) -> Target:
    """A URL that may be fetched."""
    try:
        parsed = httpx2.URL(url)
        host, port = parsed.raw_host.decode("ascii"), parsed.port
    except (httpx2.InvalidURL, UnicodeError, TypeError) as error:
        raise UpstreamError("not a URL that can be fetched") from error
    if parsed.scheme not in PORTS or not host or (port is not None and not 0 < port < 1 << 16):
        raise UpstreamError("not an http or https URL with a host")
    target = Target(parsed.copy_with(fragment=None), parsed.scheme, host.strip("[]"), port or PORTS[parsed.scheme])
    if parsed.userinfo:
        raise UpstreamError(f"{target.name}: a URL must not hold credentials")
    if parsed.scheme == "http" and not settings.allow_http:
        raise UpstreamError(f"{target.name}: plain HTTP is not allowed (allowHttp would allow it)")
    return target
