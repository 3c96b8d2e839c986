"""Assertions by which a client proves who it is to the token service (RFC 7523): their form and their signature.

The same strict reader, keys and algorithms as for access tokens, and nothing else of them: what an assertion must say is for
``extauthz.tokens`` to judge.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from extauthz.errors import KeySetError
from extauthz.identity.key_sets import key_set_of_jwks, parse_key_set
from extauthz.identity.strict_json import has_unsafe_text, read_object
from extauthz.identity.token_form import read_token
from extauthz.model import Deny

__all__ = ["ClientAssertions"]

_TYPES: Final = frozenset({None, "jwt", "client-authentication+jwt"})
"""``typ``; the last is that of draft-ietf-oauth-rfc7523bis. An access token is no assertion (RFC 8725 section 3.11)."""


class ClientAssertions:
    """Implements ``extauthz.tokens.ports.AssertionReader``."""

    def __init__(self, algorithms: frozenset[str]) -> None:
        """Only signatures of these algorithms count."""
        self._algorithms = algorithms

    def key_set(self, raw: bytes) -> Mapping[str, Any]:
        """The public keys of a client as they are stored, a JWK Set.

        Raises:
            KeySetError: It is none, or no key in it can verify assertions.
        """
        parse_key_set(raw, self._algorithms)
        return read_object(raw)

    def subject(self, assertion: str) -> str:
        """Whose assertion it says to be; nobody has verified that. Empty if it is not well-formed."""
        token = read_token(assertion)
        subject = "" if isinstance(token, Deny) else token.unverified_claims.get("sub")
        return subject if isinstance(subject, str) else ""

    def verified(self, assertion: str, keys: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Its claims, if one of a client's public keys has signed it."""
        token = read_token(assertion)
        if (
            isinstance(token, Deny)
            or token.type not in _TYPES
            or has_unsafe_text(token.payload, token.unverified_claims)
        ):
            return None
        algorithm = token.algorithm
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            return None
        try:
            known = key_set_of_jwks(keys, self._algorithms)
        except KeySetError:
            return None
        candidates = known.fitting(algorithm) if token.key_id is None else known.named(token.key_id)
        if any(key.verifies(algorithm, token.signing_input, token.signature) for key in candidates):
            return MappingProxyType(token.unverified_claims)
        return None
