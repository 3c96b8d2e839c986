"""What the operator says about how we prove who we are to an endpoint; ``client_authentication`` puts it to work."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["CLIENT_ALGORITHMS", "ClientKey", "ClientSecret"]

CLIENT_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What an assertion of ours may be signed with."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """We prove who we are by a secret (RFC 6749 section 2.3.1)."""

    client_id: str
    secret_file: str
    """The secret, as UTF-8 text without the last newline; read again when it changes."""
    method: Literal["basic", "post"] = "basic"
    """basic: in the Authorization header; post: in the form, for servers that know only that."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """We prove who we are by a signed assertion (``private_key_jwt``: RFC 7523, OpenID Connect Core 1.0 section 9)."""

    client_id: str
    key_file: str
    """The private key in PEM, not encrypted; read again when it changes."""
    audience: str
    """The one ``aud`` of the assertion: the issuer's name, or the URL of the endpoint."""
    algorithm: str = "RS256"
    key_id: str | None = None
    """``kid`` of the assertion; None: it has none."""
