"""The endpoints by names of a fixed table, for metrics and traces: what a client writes into a path is in neither."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from extauthz.tokens.metadata import INTROSPECT, KEYS, OAUTH, OPENAPI, OPENID, REFRESH, REVOKE, TOKEN, base_path

__all__ = ["ENDPOINTS", "Endpoint", "Endpoints"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of them."""

    name: str
    route: str
    """Its path without that of the issuer; empty for what is none."""


_OTHER: Final = Endpoint("other", "")
_ROUTES: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        path: Endpoint(name, path)
        for path, name in (
            (TOKEN, "token"),
            (REFRESH, "refresh"),
            (REVOKE, "revoke"),
            (INTROSPECT, "introspect"),
            (KEYS, "jwks"),
            (OPENID, "metadata"),
            (OAUTH, "metadata"),
            (OPENAPI, "openapi"),
        )
    }
)
ENDPOINTS: Final = (*dict.fromkeys(endpoint.name for endpoint in _ROUTES.values()), _OTHER.name)
"""All names; what is none of them is ``other``."""


class Endpoints:
    """Those of one issuer."""

    def __init__(self, issuer: str) -> None:
        """Know its path."""
        self._base = base_path(issuer)

    def of(self, path: str) -> Endpoint:
        """Where a path leads."""
        if self._base:
            path = OAUTH if path == OAUTH + self._base else path.removeprefix(self._base)
        return _ROUTES.get(path, _OTHER)
