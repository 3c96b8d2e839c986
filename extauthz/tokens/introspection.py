"""Introspection (RFC 7662): whether a token is good, told to whom it concerns.

Those are the token's own client, a client that the token is meant for, and clients with ``mayIntrospect`` for tokens that
are meant for one of their audiences; refresh tokens concern their own client alone. Everybody else hears what is said of a
token that does not exist: exactly ``{"active":false}`` (O35).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from extauthz.model import Deny
from extauthz.tokens.clients import MINT, Client
from extauthz.tokens.door import Door
from extauthz.tokens.errors import OAuthError, is_outage, json_answer, unavailable
from extauthz.tokens.families import Families, Granted
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.journal import Journal
from extauthz.tokens.ports import AuditEvent, TokenReader
from extauthz.tokens.refresh_token import PREFIX, digest_of
from extauthz.tokens.registry import ClientRegistry

__all__ = ["IntrospectionEndpoint"]

_TOLD: Final = (
    "iss",
    "sub",
    "aud",
    "client_id",
    "scope",
    "roles",
    "iat",
    "exp",
    "jti",
    "sid",
    "auth_time",
    "act",
    "src_iss",
    "src_sub",
)


class IntrospectionEndpoint:
    """Answers the endpoint."""

    def __init__(
        self,
        *,
        door: Door,
        registry: ClientRegistry,
        families: Families,
        reader: TokenReader,
        journal: Journal,
        now: Callable[[], float],
    ) -> None:
        """``now`` is in seconds since the epoch."""
        self._door = door
        self._registry = registry
        self._families = families
        self._reader = reader
        self._journal = journal
        self._now = now

    async def answer(self, question: HttpQuestion) -> HttpAnswer:
        """One request. Raises ``StoreError`` and ``AuditError``."""
        entered = await self._door.enter(question)
        event = AuditEvent("introspect", "done", address=question.address)
        if isinstance(entered, OAuthError):
            return self._journal.refused(event, entered)
        token = entered.form.one("token")
        if not token:
            event = AuditEvent("introspect", "done", client_id=entered.client.id, address=question.address)
            return self._journal.refused(event, OAuthError("invalid_request", "token is missing"))
        of_refresh = token.startswith(PREFIX)
        told = await (self._refresh_token if of_refresh else self._access_token)(token, entered.client)
        if isinstance(told, OAuthError):
            event = AuditEvent("introspect", "done", client_id=entered.client.id, address=question.address)
            return self._journal.refused(event, told)
        self._journal.told("introspect", "active" if told else "inactive")
        return json_answer({"active": True, **told} if told else {"active": False})

    async def _access_token(self, token: str, caller: Client) -> Mapping[str, Any] | OAuthError | None:
        claims = self._reader.read(token)
        if isinstance(claims, Deny):
            return unavailable(claims.detail) if is_outage(claims) else None
        if claims["exp"] <= self._now():
            # Others may allow for clocks that differ from ours; this one does not.
            return None
        audience = claims.get("aud", ())
        audiences = {audience} if isinstance(audience, str) else set(audience)
        meant = caller.id in audiences or (caller.may_introspect and not audiences.isdisjoint(caller.audiences))
        if claims.get("client_id") != caller.id and not meant:
            return None
        client_id = str(claims.get("client_id", ""))
        # Those that are made by command have no client that could be removed or disabled; they end by revocation.
        if client_id != MINT and await self._registry.find(client_id) is None:
            return None
        return {**{name: claims[name] for name in _TOLD if name in claims}, "token_type": "Bearer"}

    async def _refresh_token(self, token: str, caller: Client) -> Mapping[str, Any] | None:
        family = await self._families.known(token)
        if family is None or family.client_id != caller.id or family.revoked or family.current != digest_of(token):
            return None
        ends = min(family.expires, family.idle_until)
        if self._now() >= ends:
            return None
        granted = Granted.read(family.grant)
        told = {"sub": family.subject, "client_id": family.client_id, "exp": int(ends), "sid": family.id}
        return {**told, "scope": " ".join(granted.scopes)} if granted.scopes else told
