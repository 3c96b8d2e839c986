"""The grants: each says who may have a token, and what remains to be done before it is handed out.

All that they have in common is the token endpoint's: the client has proved who it is, may use the grant, and is within its
rate; scope and audience are narrowed by the same rules for all, and the token is signed and recorded. So a grant can't
forget one of these (``extauthz.tokens.token_endpoint``).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.clients import Client
from extauthz.tokens.errors import OAuthError
from extauthz.tokens.families import Families, Presented
from extauthz.tokens.form import Form
from extauthz.tokens.issuing import new_id

__all__ = ["NOTHING", "ClientCredentials", "Grant", "RefreshTokens", "refreshed"]

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Grant(Protocol):
    """One ``grant_type``."""

    name: str
    """As requests write it."""
    action: str
    """As the audit log writes it."""
    targets: tuple[str, ...]
    """The parameters that say whom the token is for."""
    answered: Mapping[str, Any]
    """What its answers say besides."""

    async def authorize(self, client: Client, form: Form, /) -> Authorization | OAuthError:
        """Who may have a token, and what it may say at most. Changes nothing that a repetition would miss."""
        ...

    async def settle(self, authorization: Authorization, terms: Terms, /) -> str | OAuthError:
        """The last step, once the token is signed and recorded; gives the refresh token that goes with it, or ""."""
        ...


class ClientCredentials:
    """RFC 6749 section 4.4: the client itself is the subject."""

    name = "client_credentials"
    action = "issue"
    targets: tuple[str, ...] = ("resource",)
    answered: Mapping[str, Any] = NOTHING

    def __init__(self, families: Families, *, now: Callable[[], float], random_bytes: Callable[[int], bytes]) -> None:
        """``now`` is in seconds since the epoch."""
        self._families = families
        self._now = now
        self._random_bytes = random_bytes

    async def authorize(self, client: Client, _form: Form) -> Authorization | OAuthError:
        """Its own policy is the most."""
        return Authorization(
            client=client,
            subject=client.id,
            scopes=client.scopes,
            audiences=client.audiences,
            audience=client.audiences[:1],
            roles=client.roles,
            auth_time=self._now(),
            session=new_id(self._random_bytes) if client.refresh or client.renew else "",
        )

    async def settle(self, authorization: Authorization, terms: Terms) -> str | OAuthError:
        """Begin a family, if the client has refresh tokens."""
        return await self._families.begin(authorization, terms) if authorization.client.refresh else ""


class RefreshTokens:
    """RFC 6749 section 6, with rotation and reuse detection (RFC 9700 section 4.14)."""

    name = "refresh_token"
    action = "refresh"
    targets: tuple[str, ...] = ("resource",)
    answered: Mapping[str, Any] = NOTHING

    def __init__(self, families: Families) -> None:
        """Know the families."""
        self._families = families

    async def authorize(self, client: Client, form: Form) -> Authorization | OAuthError:
        """What was granted when the family began, as far as the client may still have it."""
        text = form.one("refresh_token")
        if not text:
            return OAuthError("invalid_request", "refresh_token is missing")
        presented = await self._families.present(text, client.id)
        return presented if isinstance(presented, OAuthError) else refreshed(client, presented)

    async def settle(self, authorization: Authorization, _terms: Terms) -> str | OAuthError:
        """Let the next token take the place of the one that was presented."""
        if authorization.presented is None:
            message = "no refresh token was presented"
            raise RuntimeError(message)
        return await self._families.follow(authorization.presented)


def refreshed(client: Client, presented: Presented) -> Authorization | OAuthError:
    """What may follow from a refresh token: never more than was granted, nor than the client may have now."""
    granted = presented.granted
    audiences = tuple(audience for audience in granted.audiences if audience in client.audiences)
    if not audiences:
        return OAuthError("invalid_grant", "the client may not have tokens for what was granted any more")
    own = presented.family.subject == client.id
    return Authorization(
        client=client,
        subject=presented.family.subject,
        scopes=tuple(scope for scope in granted.scopes if scope in client.scopes),
        audiences=audiences,
        audience=audiences,
        roles=tuple(role for role in granted.roles if role in client.roles) if own else granted.roles,
        auth_time=granted.auth_time,
        ends=presented.family.expires,
        session=presented.family.id,
        presented=presented,
    )
