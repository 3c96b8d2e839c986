"""Revocation by command: one token, or all that a subject, a client, a key or a session has.

A revocation is in the store before the command ends; every replica denies within a second of that.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from extauthz.app.token_records import TokenRecords, opened_records, who
from extauthz.config import Config
from extauthz.errors import ExtAuthzError
from extauthz.identity.token_form import read_token
from extauthz.model import Deny
from extauthz.tokens.endings import end_of_everything, end_of_session, end_of_token
from extauthz.tokens.ports import AuditEvent
from extauthz.tokens.refresh_token import PREFIX, read_refresh_token

__all__ = ["Revoked", "revoke", "revoke_token"]

Holder = Literal["subject", "client", "key", "family"]


@dataclass(frozen=True, slots=True)
class Revoked:
    """What was revoked."""

    kind: str
    value: str
    """A name; never a token."""
    families: int = 0
    """Sessions whose refresh tokens ended with it."""


async def revoke(config: Config, kind: Holder, value: str) -> Revoked:
    """Revoke all that somebody or something has.

    Raises:
        ExtAuthzError: It can't be done now, or there is no such family.
    """
    async with opened_records(config) as records:
        now, ended = time.time(), 0
        if kind == "family":
            return await _end_family(records, value)
        await records.store.revoke(end_of_everything(kind, value, now))
        if kind == "subject":
            ended = await records.store.end_families(subject=value)
        elif kind == "client":
            ended = await records.store.end_families(client_id=value)
        subject, client = (value if kind == name else "" for name in ("subject", "client"))
        event = AuditEvent(
            "revoke",
            "done",
            client_id=client,
            subject=subject,
            key_id=value if kind == "key" else "",
            detail=f"all tokens of this {kind}, and {ended} sessions, {who()}",
        )
        records.done(event)
        return Revoked(kind, value, ended)


async def revoke_token(config: Config, token: str) -> Revoked:
    """Revoke one access token, or the session of a refresh token.

    Raises:
        ExtAuthzError: It is none of this service, or it can't be done now.
    """
    async with opened_records(config) as records:
        if token.startswith(PREFIX):
            return await _end_session_of(records, token)
        form = read_token(token)
        if isinstance(form, Deny):
            raise ExtAuthzError(f"this is no token of this service: {form.detail}")
        claims = form.unverified_claims
        if form.issuer != records.tokens.issuer:
            raise ExtAuthzError("this is a token of another issuer: only that can revoke it")
        jti, ends = claims.get("jti"), claims.get("exp")
        if not isinstance(jti, str) or isinstance(ends, bool) or not isinstance(ends, int | float):
            raise ExtAuthzError("this is no token of this service: it has no jti or no exp")
        session = await _renewed_in(records, claims)
        ended = []
        if session:
            await records.store.end_family(session)
            ended = [end_of_session(session, time.time())]
        await records.store.revoke([end_of_token(claims), *ended])
        records.done(
            AuditEvent(
                "revoke",
                "done",
                client_id=_text(claims.get("client_id")),
                subject=_text(claims.get("sub")),
                jti=jti,
                family=session,
                token=token,
                detail=f"this token{' and its session' if session else ''} {who()}",
            )
        )
        return Revoked("token", jti, 1 if session else 0)


async def _renewed_in(records: TokenRecords, claims: Mapping[str, Any]) -> str:
    """The session in which an access token may have been renewed, so that others follow from it; empty if none can."""
    client_id, session = _text(claims.get("client_id")), _text(claims.get("sid"))
    if not session or "act" in claims:
        return ""
    written = next((client for client in records.tokens.clients if client.id == client_id), None)
    found = written or await records.store.client(client_id)
    return session if found is None or found.renew else ""


async def _end_session_of(records: TokenRecords, token: str) -> Revoked:
    read = read_refresh_token(token)
    family = None if read is None else await records.store.family(read.family)
    if read is None or family is None or not read.is_tagged_by(family.key):
        raise ExtAuthzError("this is no refresh token of this service, or its session is forgotten")
    return await _end_family(records, family.id)


async def _end_family(records: TokenRecords, family_id: str) -> Revoked:
    # First what lives longest: should it come to no more than that, the refresh token would outlive the revocation.
    family = await records.store.end_family(family_id)
    await records.store.revoke([end_of_session(family_id, time.time())])
    if family is None:
        raise ExtAuthzError("there is no such session; its access tokens are revoked in case there are any")
    records.done(
        AuditEvent(
            "revoke",
            "done",
            client_id=family.client_id,
            subject=family.subject,
            family=family_id,
            detail=f"this session {who()}",
        )
    )
    return Revoked("family", family_id, 1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
