"""The token service's records in the hands of a command: the store that all replicas share, and the audit log.

Where records are in the memory of a server there is nothing to work on from here, and that is said.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from extauthz.app.audit_log import audit_log
from extauthz.app.token_store import KeptTokens, token_store
from extauthz.config import Config, Tokens
from extauthz.errors import AuditError, ExtAuthzError
from extauthz.telemetry import AuditFile
from extauthz.tokens.ports import AuditEvent

__all__ = ["TokenRecords", "opened_records", "who", "written_tokens"]


@dataclass(frozen=True, slots=True)
class TokenRecords:
    """What a command works on."""

    tokens: Tokens
    store: KeptTokens
    audit: AuditFile | None

    def done(self, event: AuditEvent) -> None:
        """Record something that was done, and can't be taken back.

        Raises:
            ExtAuthzError: It is not in the log.
        """
        if self.audit is not None:
            try:
                self.audit.record(event)
            except AuditError as error:
                raise ExtAuthzError(f"it is done, but not recorded: {error}") from None


@asynccontextmanager
async def opened_records(config: Config, *, looking: bool = False) -> AsyncIterator[TokenRecords]:
    """The records that a configuration names. ``looking``: nothing is made or changed, so there is no audit log.

    Raises:
        ExtAuthzError: There is no token service in it, its records can't be reached, or the audit log can't be written.
    """
    tokens = written_tokens(config)
    if config.store.url == "memory:":
        raise ExtAuthzError(
            "store.url is memory: these records are in the server's own process; name a store that can be shared, such as "
            "sqlite:state.db or redis://"
        )
    audit = None if looking else audit_log(tokens)
    store = token_store(config, looking=looking)
    try:
        if audit is not None:
            audit.probe()
        yield TokenRecords(tokens, store, audit)
    finally:
        await store.close()
        if audit is not None:
            audit.close()


def written_tokens(config: Config) -> Tokens:
    """The section of the token service. Raises ExtAuthzError without one."""
    if config.tokens is None:
        raise ExtAuthzError(
            "the configuration has no token service: it needs a section tokens, or --config names another file"
        )
    return config.tokens


def who() -> str:
    """Who gives a command, as far as the system tells."""
    return f"by user {os.getuid()} of the server's machine, with extauthz token"
