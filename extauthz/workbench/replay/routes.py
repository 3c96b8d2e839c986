"""The route of a request: method, host and path, with what is surely an identifier replaced by ``{id}``.

A log has a hundred thousand paths and a hundred routes. Which segments are identifiers is guessed from their form: digits,
UUIDs, long hexadecimal and long mixtures of letters and digits. A guess too many joins two routes, one too few lists one
path for itself; neither changes a count.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from extauthz.capture import HIDDEN

__all__ = ["OTHER", "Route", "route_of"]

_ID = re.compile(
    r"[0-9]+"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?=[^/]*[0-9])[0-9a-fA-F]{12,}"
    r"|(?=[^/]*[0-9][^/]*[0-9])(?=[^/]*[A-Za-z])[0-9A-Za-z_-]{20,}"
)
_KNOWN = 4096


class Route(NamedTuple):
    """Where a request went."""

    method: str
    """Empty without HTTP."""
    host: str
    path: str

    def __str__(self) -> str:
        """As people write it: ``GET orders.example.com /orders/{id}``."""
        return " ".join(part for part in self if part) or "(no HTTP)"


OTHER = Route("", "", "(other routes)")
"""Stands for all routes that there was no room for."""


def route_of(method: str, host: str, path: str) -> Route:
    """The route of a request; ``path`` may have a query."""
    return Route(method, host, _template(path.partition("?")[0]))


@lru_cache(maxsize=_KNOWN)
def _template(path: str) -> str:
    return "/".join("{id}" if _ID.fullmatch(part) or part == HIDDEN else part for part in path.split("/"))
