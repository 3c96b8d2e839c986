"""One request explained, with the providers and policies of a configuration.

Nothing is served, but a provider may have to fetch its keys, or be asked about a token, as for the first request after a
start. That is waited for once, within a time of its own; what has not come then is part of the explanation. Tokens of the
configuration's own token service are judged by its keys and its revocations, as the server judges them.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from extauthz.app.engine import engine
from extauthz.app.own_issuer import Seen, seen_issuer
from extauthz.app.providers import authenticator, credential_places, vouch
from extauthz.app.vault import Secrets
from extauthz.check import Check, explain
from extauthz.config import Config
from extauthz.errors import ExtAuthzError
from extauthz.fetch import HttpFetcher
from extauthz.model import ANONYMOUS, AttributeContext, Decision, Deny, Identity, Reason, VerifiedClaims
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.wire import Answer, Encoder, read_answer
from extauthz.workbench.explain import Explained, Question, Redaction, Told, document
from extauthz.workbench.given import Given

__all__ = ["explained", "named_caller"]


def explained(
    config: Config, secrets: Secrets, question: Question, files: Sequence[str] | None = None, *, patience: float = 5.0
) -> dict[str, Any]:
    """The explanation of one request as a value for JSON; ``patience`` is how many seconds providers get.

    Raises:
        ConfigError, PolicyError: Providers or policies can't be used.
    """
    return asyncio.run(_explained(config, secrets, question, files, patience))


async def _explained(
    config: Config, secrets: Secrets, question: Question, files: Sequence[str] | None, patience: float
) -> dict[str, Any]:
    async with seen_issuer(config, secrets) as seen:
        return await _with_keys(config, seen, question, files, patience)


async def _with_keys(
    config: Config, seen: Seen, question: Question, files: Sequence[str] | None, patience: float
) -> dict[str, Any]:
    ready = engine(config, files)
    real = authenticator(config, HttpFetcher(), time.time, seen.keys)
    given = question.given
    # A capture says whom the connection proved; a caller who is named says nothing about it.
    told_peer = given is not None and (question.recorded is not None or given.connection is not None)
    who = real if given is None else Told(given, given if told_peer else real)
    notes = [*question.notes, *await _wait(ready.check(who), question.sent, patience)]
    journey = explain(ready.check(who), question.sent)
    if config.tokens is not None and _hangs_on_revocations(journey.decision, config.tokens.issuer):
        notes += seen.notes
    notes += _own_tokens_unknown(config, journey.decision)
    told = Explained(journey, ready.snapshot, _answer(config, journey.decision), question.recorded, tuple(notes))
    return document(told, Redaction(credential_places(config), mask, is_sensitive))


async def _wait(check: Check, sent: AttributeContext, patience: float) -> list[str]:
    """Let what is missing arrive."""
    decided = check.decide(sent)
    if isinstance(decided, Decision):
        return []
    try:
        async with asyncio.timeout(patience):
            await decided.settle()
    except TimeoutError:
        return [f"a provider did not answer within {patience:g} s"]
    return []


def _own_tokens_unknown(config: Config, decision: Decision) -> list[str]:
    """Nobody is believed unless a provider says so, not even the token service of the same process."""
    refused = isinstance(decision.found, Deny) and decision.found.reason is Reason.ISSUER_UNKNOWN
    if not refused or config.tokens is None:
        return []
    issuer = config.tokens.issuer
    if any(provider.jwt is not None and provider.jwt.issuer == issuer for provider in config.providers):
        return []
    return [f"tokens of this server's own token service are refused too: no provider has its issuer, {issuer}"]


def _hangs_on_revocations(decision: Decision, issuer: str) -> bool:
    found = decision.found
    if isinstance(found, Deny):
        return found.reason is Reason.STORE_UNAVAILABLE
    return found is not None and found.issuer == issuer


def _answer(config: Config, decision: Decision) -> Answer | None:
    encoder = Encoder(
        reasons=config.responses.reasons,
        basic=any(provider.basic is not None for provider in config.providers),
        rate_limits=config.responses.rate_limits,
    )
    try:
        return read_answer(encoder.encode(decision))
    except ValueError:
        return None


def named_caller(
    config: Config, *, subject: str, provider: str, roles: Sequence[str], claims: Mapping[str, Any]
) -> Given:
    """A caller who is named by somebody at a terminal. Without roles they are read from the claims, as the provider does.

    Raises:
        ExtAuthzError: The provider is not configured, or it has to be said which one is meant.
    """
    names = [entry.name for entry in config.providers]
    tokens = [entry.name for entry in config.providers if entry.mesh is None]
    if provider and provider not in names:
        raise ExtAuthzError(f"no provider is called {provider!r}; configured are: {', '.join(names) or 'none'}")
    if not provider and len(tokens) > 1:
        raise ExtAuthzError(f"say whose caller it is: --provider {' or '.join(tokens)}")
    name = provider or (tokens[0] if tokens else "")
    if ANONYMOUS in roles:
        raise ExtAuthzError("nobody can be given the role 'anonymous'; a caller without credentials is --anonymous")
    who = subject or claims.get("sub") or "somebody"
    whole = {**claims, "sub": who}
    if claims and name and not roles:
        return Given(_vouched(config, name, whole))
    issuer = claims.get("iss", "")
    caller = Identity(str(who), str(issuer), name, frozenset(roles), claims=VerifiedClaims(whole if claims else {}))
    mesh = any(entry.name == name and entry.mesh is not None for entry in config.providers)
    return Given(None, caller) if mesh else Given(caller)


def _vouched(config: Config, name: str, claims: Mapping[str, Any]) -> Identity | Deny:
    """Whom a token with these claims proves: roles as the provider's settings make them."""
    try:
        return vouch(config)(name, claims)
    except ValueError as error:
        raise ExtAuthzError(str(error)) from None
