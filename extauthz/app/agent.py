"""The sidecar put together: its way out to the token service, its files, its pages."""

import asyncio
import json
import random
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from extauthz import __version__
from extauthz.agent import Grant, Health, Purpose, StateFile, TokenKeeper, run, token_source
from extauthz.errors import ExtAuthzError, KeySetError
from extauthz.fetch import HttpFetcher
from extauthz.identity import ClientKey, ClientSecret, FetchSettings
from extauthz.identity.client_authentication import ClientAuthentication, client_authentication
from extauthz.serving import Address, Listener, PageServer, probe_app, token_app
from extauthz.telemetry import AgentMetrics, configure_logs, toggle_debug

__all__ = ["AgentOptions", "keep_token", "token_once"]

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What an operator wants of an agent."""

    service: str
    grant: Grant
    client_id: str = ""
    secret_file: str = ""
    secret_in: Literal["basic", "post"] = "basic"  # noqa: S105 - a place, and no secret
    key_file: str = ""
    key_algorithm: str = "ES256"
    key_id: str = ""
    issuer: str = ""
    """The service's name for itself, which assertions are for; empty: the URL of the service."""
    purpose: Purpose = field(default_factory=Purpose)
    source_file: str = ""
    """The subject token, the refresh token, or the first token."""
    subject_type: str = ""
    token_file: str = ""
    """Where the token goes; empty: nowhere."""
    file_mode: int = 0o600
    ca_file: str = ""
    allow_http: bool = False
    listen: Address | None = None
    """Where the workload asks for the token."""
    admin: Address | None = None
    """Where probes and figures are asked for."""
    admin_plaintext: bool = False
    log_level: str = "info"


def keep_token(options: AgentOptions) -> int:
    """Keep a token until we are told to stop; gives the exit code.

    Raises:
        ExtAuthzError: It can't begin: a file can't be used, or a listener can't be opened.
    """
    configure_logs(options.log_level)
    asyncio.run(_keep(options))
    return 0


def token_once(options: AgentOptions, patience: float) -> int:
    """Have a token in the file and end: 0, or 1 if there was none to be had within ``patience`` seconds.

    Raises:
        ExtAuthzError: A file can't be used.
    """
    configure_logs(options.log_level)
    keeper = _keeper(options, AgentMetrics(version=__version__, now=time.time))
    return 0 if asyncio.run(keeper.until_written(patience)) else 1


async def _keep(options: AgentOptions) -> None:
    metrics = AgentMetrics(version=__version__, now=time.time)
    keeper = _keeper(options, metrics)
    pages = []
    if options.admin is not None:
        listener = Listener(options.admin, plaintext=options.admin_plaintext)
        pages.append(PageServer("--admin", listener, probe_app(Health(keeper), metrics.page)))
    if options.listen is not None:
        listener = Listener(options.listen)
        pages.append(PageServer("--listen", listener, token_app(partial(_given, keeper)), private=True))
    await run(keeper, pages, lambda: toggle_debug(options.log_level))


def _keeper(options: AgentOptions, metrics: AgentMetrics) -> TokenKeeper:
    file = StateFile(options.token_file, options.file_mode) if options.token_file else None
    if file is not None:
        file.check()
    if options.grant == "refresh-token":
        StateFile(options.source_file).check()
    source = token_source(
        options.grant,
        options.service,
        HttpFetcher(),
        # The service is usually in the same cluster, and who names it is the operator.
        FetchSettings(options.ca_file or None, allow_private_addresses=True, allow_http=options.allow_http),
        client=_client(options),
        purpose=options.purpose,
        file=options.source_file,
        subject_type=options.subject_type,
    )
    chance = random.SystemRandom().random
    return TokenKeeper(source, file, metrics, clock=_steady_clock(), now=time.time, chance=chance)


def _client(options: AgentOptions) -> ClientAuthentication | None:
    client: ClientSecret | ClientKey
    if options.secret_file:
        client = ClientSecret(options.client_id, options.secret_file, options.secret_in)
    elif options.key_file:
        audience = options.issuer or options.service
        client = ClientKey(options.client_id, options.key_file, audience, options.key_algorithm, options.key_id or None)
    else:
        return None
    try:
        return client_authentication(client, lambda: secrets.token_urlsafe(_ID_BYTES))
    except KeySetError as error:
        raise ExtAuthzError(f"the client's secret or key: {error}") from None


def _given(keeper: TokenKeeper, accept: str) -> tuple[bytes, str] | None:
    """The body for the token page: the token alone, or for who asks for JSON, what an OAuth client library reads."""
    held = keeper.current()
    if held is None:
        return None
    if "application/json" not in accept.lower():
        return held.token.encode(), "text/plain; charset=us-ascii"
    told = {"access_token": held.token, "token_type": "Bearer", "expires_in": int(keeper.left(held))}
    return json.dumps(told).encode(), "application/json"


def _steady_clock() -> "partial[float]":
    """Seconds that go on while the machine sleeps, where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return partial(time.clock_gettime, boot)
