"""The whole configuration: what an operator writes, in one immutable value.

``extauthz.app`` compiles it into the values of the rooms at start; nothing is handed a configuration later. The only
door is ``extauthz.config.load_config``: a ``Config`` that was made in another way was not checked as a whole.

A setting that is dangerous wherever it is used is refused at start unless its risk is accepted by name in
``acceptRisks``, at the top of the file where a reviewer sees it. Settings whose own name says what they open
(``plaintext: true``, ``allowHttp: true``, ``encodedSlash: accept``) are not asked for twice.
"""

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from extauthz.config.fields import AnyList, Section
from extauthz.config.limits import Limits, Store
from extauthz.config.listeners import Listen
from extauthz.config.providers import Provider
from extauthz.config.sections import (
    Check,
    ClientAddress,
    Headers,
    Policies,
    Request,
    Responses,
    Roles,
    Telemetry,
    TokenCache,
)
from extauthz.config.tokens import Tokens
from extauthz.config.vault import Vault
from extauthz.documents import FieldError

__all__ = ["Config"]


_MAX_WORKERS = 64


def _workers(written: object) -> object:
    number = isinstance(written, int) and not isinstance(written, bool) and 1 <= written <= _MAX_WORKERS
    if not number and written != "auto":
        message = "is no number of workers"
        raise FieldError(message, f"write a number from 1 to {_MAX_WORKERS}, or auto: one for each core")
    return written


class Config(Section):
    """The configuration of extauthz."""

    workers: Annotated[
        int | str,
        BeforeValidator(_workers),
        Field(
            json_schema_extra={"anyOf": [{"type": "integer", "minimum": 1, "maximum": _MAX_WORKERS}, {"const": "auto"}]}
        ),
    ] = 1
    """Processes that answer Checks, each on a listener of its own: the address of `listen.check`, and those after it. auto:
    one for each core that this process may use."""
    listen: Listen = Listen()
    """Where extauthz can be reached."""
    check: Check = Check()
    """How one Check is answered, and how the server stops."""
    providers: AnyList[Provider] = ()
    """Who vouches for callers. None: only rules for role anonymous can allow anything."""
    token_cache: TokenCache = TokenCache()
    """How long and how many verified JWTs are remembered."""
    roles: Roles = Roles()
    """Roles that contain others."""
    client_address: ClientAddress = ClientAddress()
    """Where the client's address comes from."""
    request: Request = Request()
    """What is refused because two servers could read it differently."""
    headers: Headers = Headers()
    """Which request headers are in the hands of policies."""
    policies: Policies = Policies()
    """Where policies come from."""
    store: Store = Store()
    """What replicas share."""
    limits: Limits = Limits()
    """How rates are counted."""
    vault: Vault = Vault()
    """Where secrets and signing keys may be: HashiCorp Vault or OpenBao."""
    responses: Responses = Responses()
    """What callers are told."""
    tokens: Tokens | None = None
    """The token service. Absent: there is none."""
    telemetry: Telemetry = Telemetry()
    """Traces, decision records, logs."""
    accept_risks: AnyList[Literal["any-audience"]] = ()
    """Dangers that are taken on by name. any-audience: a provider has `audiences: ["*"]`, so that a token which was
    issued for any other service opens this one."""

    @property
    def worker_count(self) -> int:
        """How many processes answer Checks."""
        return self.workers if isinstance(self.workers, int) else len(os.sched_getaffinity(0))
