"""Access tokens: JWTs in the profile of RFC 9068, short-lived, for named audiences.

Every claim is written here, from typed values, after whatever a grant brings of its own: nothing that came with a request
can stand in the place of a claim that somebody decides by (O15).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extauthz.errors import SigningError
from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.encoding import base64url
from extauthz.tokens.errors import OAuthError
from extauthz.tokens.ports import Signer

__all__ = ["AccessToken", "AccessTokens", "new_id"]

_ID_SIZE = 16
"""Bytes from the operating system: 128 bits."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token."""

    token: str = field(repr=False)
    jti: str
    key_id: str
    lifetime: int
    """Seconds."""


def new_id(random_bytes: Callable[[int], bytes]) -> str:
    """An identifier that nobody can guess, and that there is never a second time."""
    return base64url(random_bytes(_ID_SIZE))


class AccessTokens:
    """Makes them."""

    def __init__(
        self,
        issuer: str,
        signer: Signer,
        *,
        lifetime: float,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """``lifetime`` holds for clients that have none of their own; ``now`` is in seconds since the epoch."""
        self._issuer = issuer
        self._signer = signer
        self._lifetime = lifetime
        self._now = now
        self._random_bytes = random_bytes

    async def issue(self, authorization: Authorization, terms: Terms) -> AccessToken | OAuthError:
        """Sign a token. Raises ``SigningError`` if that can't be done now."""
        client = authorization.client
        issued = int(self._now())
        lifetime = self._lifetime if client.lifetime is None else client.lifetime
        ends = issued + int(min(lifetime, self._signer.max_token_lifetime))
        if authorization.ends is not None:
            ends = min(ends, int(authorization.ends))
        if ends <= issued:
            return OAuthError("invalid_grant", "what the token would follow from has ended")
        claims: dict[str, Any] = dict(authorization.further or {})
        claims |= {
            "iss": self._issuer,
            "sub": authorization.subject,
            "aud": terms.audiences[0] if len(terms.audiences) == 1 else list(terms.audiences),
            "client_id": client.id,
            "iat": issued,
            "exp": ends,
            "jti": new_id(self._random_bytes),
            "roles": list(authorization.roles),
        }
        optional = {
            "scope": " ".join(terms.scopes),
            "auth_time": None if authorization.auth_time is None else int(authorization.auth_time),
            "sid": authorization.session,
        }
        for name, value in optional.items():
            claims.pop(name, None)
            if value:
                claims[name] = value
        signed = await self._signer.sign(claims, typ="at+jwt")
        if self._now() >= ends:
            message = "signing took longer than the token would have lived"
            raise SigningError(message)
        return AccessToken(signed.token, claims["jti"], signed.kid, ends - issued)
