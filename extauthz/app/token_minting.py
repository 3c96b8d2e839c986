"""A token signed with the service's own keys by command: for tests, and for emergencies in which the service is down.

It is an access token like all others, for as long as the longest of them may live at most. Its client is ``mint``, which
nobody can be, so that all of its kind can be found in the audit log and revoked at once.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from extauthz.app.audit_log import audit_log
from extauthz.app.signing import in_vault_of, opened_signing_keys
from extauthz.app.token_records import who, written_tokens
from extauthz.app.vault import Secrets
from extauthz.config import Config
from extauthz.errors import ExtAuthzError
from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.clients import MINT, Client
from extauthz.tokens.errors import OAuthError
from extauthz.tokens.issuing import AccessTokens
from extauthz.tokens.ports import AuditEvent

__all__ = ["Minted", "Wanted", "mint"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a token is to say."""

    subject: str
    audiences: Sequence[str] = ()
    """Empty: the first of ``tokens.audiences``."""
    roles: Sequence[str] = ()
    scopes: Sequence[str] = ()
    lifetime: float | None = None
    """Seconds; None: as the service has it."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A token."""

    token: str = field(repr=False)
    jti: str
    key_id: str
    lifetime: int
    recorded: bool
    """Whether there is an audit log that has it."""


async def mint(config: Config, secrets: Secrets, wanted: Wanted) -> Minted:
    """Sign a token, once it is in the audit log.

    Raises:
        ExtAuthzError: It can't be signed or recorded, or nobody may have such a token.
    """
    tokens = written_tokens(config)
    audiences = tuple(wanted.audiences or tokens.audiences[:1])
    lifetime = tokens.access_token_lifetime if wanted.lifetime is None else wanted.lifetime
    longest = tokens.longest_token
    if not audiences:
        raise ExtAuthzError("--audience: tokens.audiences names none that could be meant")
    if "anonymous" in wanted.roles:
        raise ExtAuthzError("--role: nobody can be given the role 'anonymous'")
    if not 1 <= lifetime <= longest:
        raise ExtAuthzError(f"--lifetime: no token of this service lives longer than {longest:g}s")
    audit = audit_log(tokens)
    client = Client(MINT, "client_secret_basic", frozenset(), audiences, lifetime=lifetime)
    terms = Terms(tuple(wanted.scopes), audiences)
    authorization = Authorization(client, wanted.subject, terms.scopes, audiences, audiences, tuple(wanted.roles))
    async with opened_signing_keys(config, in_vault_of(secrets, config)) as keys:
        await keys.refresh()
        signing = AccessTokens(tokens.issuer, keys, lifetime=lifetime, now=time.time, random_bytes=os.urandom)
        made = await signing.issue(authorization, terms)
    if isinstance(made, OAuthError):
        raise ExtAuthzError(made.description)
    if audit is not None:
        audit.record(
            AuditEvent(
                "mint",
                "done",
                client_id=MINT,
                subject=wanted.subject,
                key_id=made.key_id,
                token=made.token,
                jti=made.jti,
                detail=f"roles {', '.join(wanted.roles) or 'none'}, for {', '.join(audiences)}, {who()}",
            )
        )
        audit.close()
    return Minted(made.token, made.jti, made.key_id, made.lifetime, audit is not None)
