"""``POST /refresh``: a fresh token for the one in the body, as a shell loop with curl asks for it.

    TOKEN=$(curl -s -X POST -d '{"token":"'$TOKEN'"}' http://127.0.0.1:8080/refresh | jq -r .token)

Whoever has the token is believed, so it is for clients that were configured with ``renew: true``: their refresh tokens,
which are followed as at the token endpoint, and their own access tokens as long as they are good. What they say stays as it
was, or becomes less where the client may have less by now; ``auth_time`` stays too, and a day after it renewal ends. A token
that was exchanged for another, or that is bound to its sender, is never renewed.

The ``Content-Type`` is not looked at: curl says that what ``-d`` sends is a form.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from extauthz.errors import StoreError
from extauthz.model import Deny
from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.door import Door
from extauthz.tokens.errors import OAuthError, is_outage, json_answer, unavailable
from extauthz.tokens.families import Families
from extauthz.tokens.grants import refreshed
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.issuing import AccessTokens
from extauthz.tokens.journal import Journal
from extauthz.tokens.ports import AuditEvent, TokenReader
from extauthz.tokens.refresh_token import PREFIX
from extauthz.tokens.registry import ClientRegistry

__all__ = ["Renewal"]

_MAX_SIZE: Final = 32_768
"""Bytes of a body."""
_VARIABLE: Final = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]{0,63}|\{[A-Za-z_][A-Za-z0-9_]{0,63}\}|\([^()]{0,64}\))\Z")


class Renewal:
    """Answers the endpoint."""

    def __init__(
        self,
        *,
        door: Door,
        registry: ClientRegistry,
        families: Families,
        reader: TokenReader,
        tokens: AccessTokens,
        journal: Journal,
        renew_for: float,
        now: Callable[[], float],
    ) -> None:
        """``renew_for`` is in seconds since ``auth_time``; ``now`` is in seconds since the epoch."""
        self._door = door
        self._registry = registry
        self._families = families
        self._reader = reader
        self._tokens = tokens
        self._journal = journal
        self._renew_for = renew_for
        self._now = now

    async def answer(self, question: HttpQuestion) -> HttpAnswer:
        """One request. Raises ``StoreError``, ``SigningError`` and ``AuditError``; then nothing was handed out."""
        event = AuditEvent("renew", "done", address=question.address)
        text = _token_in(question.body)
        found = text if isinstance(text, OAuthError) else await self._authorize(text)
        if isinstance(found, OAuthError):
            return self._journal.no_token("renew", event, self._door.failure(question.address, found))
        event = replace(event, client_id=found.client.id, subject=found.subject, family=found.session)
        error = self._door.refresh(found.session)
        signed = error or await self._tokens.issue(found, Terms(found.scopes, found.audience))
        if isinstance(signed, OAuthError):
            return self._journal.no_token("renew", event, signed)
        event = replace(event, jti=signed.jti, key_id=signed.key_id, token=signed.token)
        self._journal.record(event)
        answer: dict[str, Any] = {"token": signed.token, "token_type": "Bearer", "expires_in": signed.lifetime}
        if found.presented is not None:
            try:
                follows = await self._families.follow(found.presented)
            except StoreError as error:
                follows = unavailable(str(error))
            if isinstance(follows, OAuthError):
                return self._journal.no_token("renew", event, follows)
            answer["refresh_token"] = follows
        self._journal.issued("renew")
        return json_answer(answer)

    async def _authorize(self, text: str) -> Authorization | OAuthError:
        return await (self._by_refresh_token(text) if text.startswith(PREFIX) else self._by_access_token(text))

    async def _by_refresh_token(self, text: str) -> Authorization | OAuthError:
        presented = await self._families.present(text, None)
        if isinstance(presented, OAuthError):
            return presented
        client = await self._registry.find(presented.family.client_id)
        if client is None or not client.renew or "refresh_token" not in client.grants:
            return _refused("its client has no renew: true, or is gone")
        return refreshed(client, presented)

    async def _by_access_token(self, text: str) -> Authorization | OAuthError:
        claims = self._reader.read(text)
        if isinstance(claims, Deny):
            if is_outage(claims):
                return unavailable(claims.detail)
            return _refused(f"{claims.reason.word}: {claims.detail}")
        if claims["exp"] <= self._now():
            return _refused("the token has expired")
        if "cnf" in claims or "act" in claims:
            return _refused("the token was exchanged, or is bound to its sender: such are never renewed")
        client = await self._registry.find(str(claims.get("client_id", "")))
        session, auth_time = claims.get("sid"), claims.get("auth_time")
        if client is None or not client.renew or not session or auth_time is None:
            return _refused("its client has no renew: true, or had none when the token was issued, or is gone")
        ends = auth_time + self._renew_for
        if self._now() >= ends:
            return OAuthError(
                "invalid_grant",
                f"renewal ends {self._renew_for:.0f} s after auth_time: authenticate the client anew",
                "renewFor is over",
            )
        audiences = tuple(audience for audience in _listed(claims.get("aud")) if audience in client.audiences)
        if not audiences:
            return _refused("the client may not have tokens for its audience any more")
        own = claims["sub"] == client.id
        roles = _listed(claims.get("roles"))
        return Authorization(
            client=client,
            subject=claims["sub"],
            scopes=tuple(scope for scope in str(claims.get("scope", "")).split() if scope in client.scopes),
            audiences=audiences,
            audience=audiences,
            roles=tuple(role for role in roles if role in client.roles) if own else roles,
            auth_time=auth_time,
            ends=ends,
            session=session,
        )


def _token_in(body: bytes) -> str | OAuthError:
    """The token in a body."""
    if len(body) > _MAX_SIZE:
        return OAuthError("invalid_request", f"the body is longer than {_MAX_SIZE} bytes")
    try:
        written = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        written = None
    token = written.get("token") if isinstance(written, dict) else None
    if not isinstance(token, str):
        return OAuthError("invalid_request", "the body must be a JSON object with the token as a string named token")
    if _VARIABLE.match(token):
        return OAuthError(
            "invalid_request",
            f"the token is the text {token} itself: within single quotes the shell does not put in the value. End them "
            "before it and begin them again behind it",
            "the token is the text of a variable or a command",
        )
    if not token:
        return OAuthError("invalid_request", "the token is empty: is the variable set in the shell that ran curl?")
    return token


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _listed(claim: object) -> tuple[str, ...]:
    """A claim that is a string or a list of strings, as a list."""
    return (claim,) if isinstance(claim, str) else tuple(map(str, claim)) if isinstance(claim, list) else ()


def _refused(detail: str) -> OAuthError:
    return OAuthError("invalid_grant", "the token is not valid, or not one that is renewed", detail)
