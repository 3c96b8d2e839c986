"""Revocation (RFC 7009): a client ends what it was given. What is answered with 200 is durable (O31).

A refresh token ends with its family, and with it all access tokens that followed from the same grant; any token of the
family does, also one that was followed already. An access token ends alone, unless its client may renew access tokens:
then others may have followed from it, in whoever's hands, and all of the grant ends, also by a token that has expired. One
that came by an exchange ends alone in any case: what it was exchanged for is not this client's.

A token says by its form what it is, so a wrong ``token_type_hint`` misleads nobody. One that is unknown or has ended
already is answered with 200, since what was asked for is so; one of another client is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from extauthz.model import Deny
from extauthz.tokens.clients import Client
from extauthz.tokens.door import Door, Entered
from extauthz.tokens.endings import end_of_session, end_of_token
from extauthz.tokens.errors import OAuthError, is_outage, json_answer, unavailable
from extauthz.tokens.families import Families
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.journal import Journal
from extauthz.tokens.ports import AuditEvent, TokenReader, TokenStore
from extauthz.tokens.refresh_token import PREFIX

__all__ = ["RevocationEndpoint"]


class RevocationEndpoint:
    """Answers the endpoint."""

    def __init__(
        self,
        *,
        door: Door,
        families: Families,
        reader: TokenReader,
        store: TokenStore,
        journal: Journal,
        now: Callable[[], float],
    ) -> None:
        """``now`` is in seconds since the epoch."""
        self._door = door
        self._families = families
        self._reader = reader
        self._store = store
        self._journal = journal
        self._now = now

    async def answer(self, question: HttpQuestion) -> HttpAnswer:
        """One request. Raises ``StoreError`` and ``AuditError``; then the client must ask again."""
        entered = await self._door.enter(question)
        event = AuditEvent("revoke", "done", address=question.address)
        if isinstance(entered, OAuthError):
            return self._journal.refused(event, entered)
        token = entered.form.one("token")
        event = replace(event, client_id=entered.client.id, token=token)
        if not token:
            return self._journal.refused(event, OAuthError("invalid_request", "token is missing"))
        if token.startswith(PREFIX):
            done = await self._end_family(token, entered, event)
        else:
            done = await self._end_token(token, entered, event)
        if isinstance(done, OAuthError):
            return self._journal.refused(event, done)
        self._journal.done(done)
        return json_answer({})

    async def _end_family(self, token: str, entered: Entered, event: AuditEvent) -> AuditEvent | OAuthError:
        family = await self._families.known(token)
        if family is None:
            return replace(event, detail="unknown")
        if family.client_id != entered.client.id:
            return _not_yours()
        await self._families.end(family.id)
        return replace(event, subject=family.subject, family=family.id)

    async def _end_token(self, token: str, entered: Entered, event: AuditEvent) -> AuditEvent | OAuthError:
        claims = self._reader.read(token)
        if isinstance(claims, Deny):
            if is_outage(claims):
                return unavailable(claims.detail)
            return await self._end_what_followed(token, claims, entered.client, event)
        if claims.get("client_id") != entered.client.id:
            return _not_yours()
        ends = [end_of_token(claims)]
        if session := _renewed_in(claims, entered.client):
            await self._store.end_family(session)
            ends.append(end_of_session(session, self._now()))
        await self._store.revoke(ends)
        return replace(event, subject=claims["sub"], jti=claims["jti"], family=claims.get("sid", ""))

    async def _end_what_followed(self, token: str, denied: Deny, client: Client, event: AuditEvent) -> AuditEvent:
        """End the grant of a token that has ended itself, if it may have been renewed before."""
        claims = self._reader.issued(token)
        ours = claims is not None and claims.get("client_id") == client.id
        session = _renewed_in(claims, client) if claims is not None and ours else ""
        if claims is None or not session:
            return replace(event, detail=f"nothing to end: {denied.reason.word}")
        await self._families.end(session)
        return replace(event, subject=claims["sub"], jti=claims["jti"], family=session, detail="its grant alone")


def _renewed_in(claims: Mapping[str, Any], client: Client) -> str:
    """The session in which a token of a client may have been renewed; empty if it can't have been."""
    return "" if "act" in claims or not client.renew else str(claims.get("sid", ""))


def _not_yours() -> OAuthError:
    return OAuthError("invalid_grant", "the token was issued to another client", status=400)
