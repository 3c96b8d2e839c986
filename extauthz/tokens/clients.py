"""Clients of the token service (RFC 6749 section 2), as values: how each proves itself, and what it may be given.

A client has one way of authentication and no other counts for it (RFC 9700 section 2.5). What it may ask for is data and
nobody's code: grants, audiences, scopes, roles. Secrets are here as digests alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["GRANTS", "MINT", "AuthenticationMethod", "Client", "ExchangeRules"]

AuthenticationMethod = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"]
"""The words of RFC 7591 section 2 and RFC 8705 section 2.1.1."""

GRANTS = frozenset({"client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"})
"""The grant types that there are, in the words of ``grant_type``."""


MINT = "mint"
"""What tokens that are made by command (``extauthz token mint``) say in ``client_id``. Nobody can be this client: whoever
could would be told of such tokens, and could revoke them."""


@dataclass(frozen=True, slots=True)
class ExchangeRules:
    """What a client may exchange (RFC 8693)."""

    providers: frozenset[str]
    """The configured providers whose tokens it may bring as ``subject_token``."""
    may_grant: frozenset[str] | None = None
    """Which of the subject's roles the new token may have; None: all that the provider gives."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client."""

    id: str
    authentication: AuthenticationMethod
    grants: frozenset[str]
    audiences: tuple[str, ...]
    """What its tokens may be for; the first one if it does not ask (``resource``, RFC 8707). Never empty."""
    roles: tuple[str, ...] = ()
    """What its own tokens (client_credentials) say in ``roles``."""
    scopes: tuple[str, ...] = ()
    """What it may ask for in ``scope``; all of them if it does not ask."""
    lifetime: float | None = None
    """Seconds that its access tokens live; None: as the service has it."""
    refresh: bool = False
    """Its grants come with a refresh token."""
    renew: bool = False
    """A still valid access token of its may be renewed by ``POST /refresh``."""
    exchange: ExchangeRules | None = None
    """None: it may exchange nothing."""
    secret_digests: tuple[bytes, ...] = field(default=(), repr=False)
    """SHA-256 of each secret in force: two while one replaces the other. Secrets have 160 random bits or more."""
    public_keys: Mapping[str, Any] | None = field(default=None, repr=False)
    """A JWK Set whose keys sign its assertions (private_key_jwt)."""
    certificate_subject: str = ""
    """For tls_client_auth: the URI or DNS name (SAN) that its certificate has."""
    may_introspect: bool = False
    """It may ask about tokens that are meant for one of its ``audiences`` although they are of other clients."""
    disabled: bool = False
    """It is refused, and what it was given is dead."""
