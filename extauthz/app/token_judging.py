"""One token judged by the providers of a configuration, wherever a request would have it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from extauthz.app.own_issuer import seen_issuer
from extauthz.app.providers import jwt_providers
from extauthz.app.vault import Secrets
from extauthz.config import Config
from extauthz.errors import ConfigError, KeySetError, Position, Problem
from extauthz.fetch import HttpFetcher
from extauthz.identity import OwnKeys, Step, Wait, included_roles
from extauthz.identity.explanation import token_step
from extauthz.identity.jwt_issuer import JwtIssuer
from extauthz.identity.token_form import read_token
from extauthz.model import Deny, Reason
from extauthz.workbench.tokens import Judged

__all__ = ["judged"]

_LOOK = 0.02
"""Seconds between looks at whether the keys are here."""


async def judged(config: Config, secrets: Secrets, token: str, *, patience: float = 5.0) -> Judged | None:
    """What the provider that a token names says of it; None if the configuration has no provider of JSON Web Tokens.

    Keys may have to be fetched: ``patience`` is how many seconds that gets. Those of the configuration's own token service
    are read where it has them, and what it has revoked is known if its store can be shared.

    Raises:
        ConfigError: A provider's local keys can't be used.
    """
    async with seen_issuer(config, secrets) as seen:
        verdict = await _judged(_issuers(config, seen.keys), token, patience)
    if verdict is None or config.tokens is None:
        return verdict
    own = {one.name for one in config.providers if one.jwt is not None and one.jwt.issuer == config.tokens.issuer}
    return replace(verdict, notes=seen.notes) if verdict.provider in own else verdict


async def _judged(issuers: Sequence[JwtIssuer], token: str, patience: float) -> Judged | None:
    if not issuers:
        return None
    form = read_token(token)
    steps = [token_step(form)]
    if isinstance(form, Deny):
        return Judged(form, tuple(steps))
    asked = "iss is the issuer of a provider"
    issuer = next((one for one in issuers if one.issuer == form.issuer), None)
    if issuer is None:
        fault = f"known are: {', '.join(one.issuer for one in issuers)}"
        return Judged(Deny(Reason.ISSUER_UNKNOWN, fault), (*steps, Step("provider", asked, holds=False, fault=fault)))
    steps.append(Step("provider", asked, holds=True, value=issuer.name))
    running = asyncio.create_task(issuer.run())
    try:
        async with asyncio.timeout(patience):
            while not issuer.started:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        pass  # what has not come is part of the verdict
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    now = time.time()
    verdict = issuer.identify(form, now, waited=True)
    if isinstance(verdict, Wait):
        message = "the provider asked to wait twice"
        raise RuntimeError(message)  # noqa: TRY004 - a fault of ours, not of a type
    return Judged(verdict, (*steps, *issuer.steps(form, now)), issuer.name)


def _issuers(config: Config, own: OwnKeys | None) -> list[JwtIssuer]:
    included = included_roles(config.roles.includes)
    try:
        return [
            JwtIssuer(provider, included, fetcher=HttpFetcher(), now=time.time)
            for provider in jwt_providers(config, own)
        ]
    except KeySetError as error:
        raise ConfigError([Problem(Position("providers"), str(error))]) from None
