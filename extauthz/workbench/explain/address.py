"""The URL of a request, as a person writes it: where it goes, and what stands in its first line.

Nothing is repaired: a path that is refused is what somebody may want explained. Only where a client is imitated that
resolves dot segments by itself are they resolved (``resolve``).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from extauthz.errors import ExtAuthzError

__all__ = ["Address", "read_address"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PORT = re.compile(r":([0-9]{1,5})\Z")
_SCHEMES = ("http", "https", "ws", "wss")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request goes."""

    scheme: str
    """http or https."""
    host: str
    """With a port if one was written."""
    path: str
    """With the query."""
    port: int
    """That the client connects to."""
    user: str = ""
    """``user:password``, if the URL has one."""

    def with_host(self, host: str) -> "Address":
        """The same with another ``Host``."""
        return replace(self, host=host)

    def with_query(self, fields: Iterable[str]) -> "Address":
        """The same with more fields behind its query."""
        more = "&".join(fields)
        if not more:
            return self
        return replace(self, path=self.path + ("&" if "?" in self.path else "?") + more)


def read_address(url: str, *, resolve: bool = False) -> Address:
    """Read a URL; without a scheme it is http, as for curl.

    Raises:
        ExtAuthzError: It is no URL of a request.
    """
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else "http"
    if scheme not in _SCHEMES:
        raise ExtAuthzError(f"the URL has the scheme {scheme!r}; write http or https")
    rest = (url[match.end() :] if match else url).partition("#")[0]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    if not host:
        raise ExtAuthzError("the URL has no host: write https://orders.example.com/orders")
    path = rest[len(authority) :]
    if not path.startswith("/"):
        path = f"/{path}"
    if resolve:
        raw, question, query = path.partition("?")
        path = _resolved(raw) + question + query
    secure = scheme in ("https", "wss")
    written = _PORT.search(host)
    port = int(written[1]) if written else 443 if secure else 80
    return Address("https" if secure else "http", host, path, port, unquote(user))


def _resolved(path: str) -> str:
    """A path without dot segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
