"""The token endpoint (RFC 6749 section 3.2): the way that every token request goes, whatever the grant.

::

    form -> client -> rate -> grant allowed -> authorize -> scope, audience -> sign -> record -> settle -> answer

The order of the last steps is why nothing is ever half done. Signing comes before the store is changed: while keys can't be
had, a refresh token stays good. The record comes before it too: without one nothing is handed out, and the refresh token
stays good as well. The store's step is the last, and either it happens or the signed token is thrown away unseen. If the
process dies after it, the client asks again and gets the same successor (``extauthz.tokens.families``).
"""

from collections.abc import Iterable
from dataclasses import replace

from extauthz.errors import StoreError
from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.door import Door, Entered
from extauthz.tokens.errors import OAuthError, json_answer, unavailable
from extauthz.tokens.grants import Grant
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.issuing import AccessTokens
from extauthz.tokens.journal import Journal
from extauthz.tokens.ports import AuditEvent
from extauthz.tokens.scopes import audiences_of, scopes_of

__all__ = ["TokenEndpoint"]


class TokenEndpoint:
    """Answers token requests."""

    def __init__(self, door: Door, grants: Iterable[Grant], tokens: AccessTokens, journal: Journal) -> None:
        """Know these grants."""
        self._door = door
        self._grants = {grant.name: grant for grant in grants}
        self._tokens = tokens
        self._journal = journal

    async def answer(self, question: HttpQuestion) -> HttpAnswer:
        """One request. Raises ``StoreError``, ``SigningError`` and ``AuditError``; then nothing was handed out."""
        entered = await self._door.enter(question)
        if isinstance(entered, OAuthError):
            return self._journal.no_token("", AuditEvent("issue", "refused", address=question.address), entered)
        asked = entered.form.one("grant_type")
        grant = self._grant(entered, asked)
        if isinstance(grant, OAuthError):
            return self._journal.no_token(asked, _event("issue", entered), grant)
        return await self._granted(grant, entered)

    async def _granted(self, grant: Grant, entered: Entered) -> HttpAnswer:
        event = _event(grant.action, entered)
        authorization = await grant.authorize(entered.client, entered.form)
        if isinstance(authorization, OAuthError):
            return self._journal.no_token(grant.name, event, authorization)
        event = replace(event, subject=authorization.subject, family=authorization.session)
        terms = _terms(grant, authorization, entered)
        if isinstance(terms, OAuthError):
            return self._journal.no_token(grant.name, event, terms)
        signed = await self._tokens.issue(authorization, terms)
        if isinstance(signed, OAuthError):
            return self._journal.no_token(grant.name, event, signed)
        event = replace(event, jti=signed.jti, key_id=signed.key_id, token=signed.token)
        self._journal.record(event)
        try:
            follows = await grant.settle(authorization, terms)
        except StoreError as error:
            follows = unavailable(str(error))
        if isinstance(follows, OAuthError):
            return self._journal.no_token(grant.name, event, follows)
        self._journal.issued(grant.name)
        answer = {"access_token": signed.token, "token_type": "Bearer", "expires_in": signed.lifetime, **grant.answered}
        if terms.scopes:
            answer["scope"] = " ".join(terms.scopes)
        if follows:
            answer["refresh_token"] = follows
        return json_answer(answer)

    def _grant(self, entered: Entered, asked: str) -> Grant | OAuthError:
        if not asked:
            return OAuthError("invalid_request", "grant_type is missing")
        grant = self._grants.get(asked)
        if grant is None:
            return OAuthError("unsupported_grant_type", "there is no such grant type here")
        if asked not in entered.client.grants:
            return OAuthError("unauthorized_client", "the client may not use this grant type")
        return grant


def _terms(grant: Grant, authorization: Authorization, entered: Entered) -> Terms | OAuthError:
    form = entered.form
    scopes = scopes_of(form.one("scope"), authorization.scopes)
    if isinstance(scopes, OAuthError):
        return scopes
    asked = [value for name in grant.targets for value in form.all(name)]
    audiences = audiences_of(asked, authorization.audiences, authorization.audience)
    return audiences if isinstance(audiences, OAuthError) else Terms(scopes, audiences)


def _event(action: str, entered: Entered) -> AuditEvent:
    return AuditEvent(action, "done", client_id=entered.client.id, address=entered.address)
