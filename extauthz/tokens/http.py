"""HTTP as plain values: what the token service is asked and answers. ``extauthz.serving`` turns them into bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["HttpAnswer", "HttpQuestion"]


@dataclass(frozen=True, slots=True)
class HttpQuestion:
    """One request to the http listener."""

    method: str
    path: str
    """As it was sent, without the query."""
    query: str = field(repr=False)
    headers: Mapping[str, tuple[str, ...]] = field(repr=False)
    """Lower-case names, each with its values in order of arrival; latin-1 as HTTP has it."""
    body: bytes = field(repr=False)
    address: str = ""
    """The address of the connection's other end; empty for a unix socket."""
    certificate: bytes | None = field(default=None, repr=False)
    """The client's certificate, DER, whose chain TLS has verified; None without one."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What it is answered."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
