"""What the service says of itself: RFC 8414 and OpenID Connect Discovery, true to fact.

There is no authorization endpoint yet, so nothing says that there were response types or PKCE.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from extauthz.tokens.clients import GRANTS
from extauthz.tokens.ports import Signer

__all__ = ["INTROSPECT", "KEYS", "OAUTH", "OPENAPI", "OPENID", "REFRESH", "REVOKE", "TOKEN", "base_path", "metadata"]

TOKEN: Final = "/oauth2/token"  # noqa: S105 - a path
REVOKE: Final = "/oauth2/revoke"
INTROSPECT: Final = "/oauth2/introspect"
KEYS: Final = "/.well-known/jwks.json"
REFRESH: Final = "/refresh"
OPENID: Final = "/.well-known/openid-configuration"
OAUTH: Final = "/.well-known/oauth-authorization-server"
OPENAPI: Final = "/openapi.json"

ASSERTION_ALGORITHMS: Final = ("ES256", "EdDSA", "PS256", "RS256")
"""What client assertions may be signed with."""
_SECRETS_AND_KEYS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")


def metadata(issuer: str, signer: Signer, *, client_certificates: bool) -> Mapping[str, Any]:
    """The document. ``client_certificates``: the listener asks clients for theirs."""
    methods = [*_SECRETS_AND_KEYS, *(["tls_client_auth"] if client_certificates else [])]
    algorithms = list(ASSERTION_ALGORITHMS)
    endpoints: dict[str, Any] = {}
    for name, path in (("token", TOKEN), ("revocation", REVOKE), ("introspection", INTROSPECT)):
        endpoints[f"{name}_endpoint"] = issuer + path
        endpoints[f"{name}_endpoint_auth_methods_supported"] = methods
        endpoints[f"{name}_endpoint_auth_signing_alg_values_supported"] = algorithms
    return {
        "issuer": issuer,
        "jwks_uri": issuer + KEYS,
        **endpoints,
        "grant_types_supported": sorted(GRANTS),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(signer.algorithms()),
    }


def base_path(issuer: str) -> str:
    """The path of an issuer, before which nothing of ours begins; empty if it has none."""
    return urlsplit(issuer).path.rstrip("/")
