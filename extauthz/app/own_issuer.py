"""What this process issues tokens with, out of the configuration: store, signing keys, revocations, audit log.

It is there before the authenticator, which verifies own tokens with these keys and asks this list whether they still stand.
The token service itself comes after it (``extauthz.app.token_service``), since it asks the authenticator whom foreign
tokens prove.
"""

import math
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from extauthz.app.audit_log import audit_log
from extauthz.app.signing import InVault, in_vault_of, signing_keys
from extauthz.app.token_store import KeptTokens, absent, token_store
from extauthz.app.vault import Secrets
from extauthz.config import Config, Tokens
from extauthz.errors import SigningError, StoreError
from extauthz.identity import OwnKeys
from extauthz.telemetry import TimedStore, TokenWaits
from extauthz.tokens.ports import AuditEvent, AuditLog
from extauthz.tokens.revocation_feed import RevocationFeed
from extauthz.tokens.revocation_list import RevocationList
from extauthz.tokens.revoking_store import RevokingStore

__all__ = ["OwnIssuer", "Seen", "seen_issuer"]


class OwnIssuer:
    """The parts, which belong to one event loop; nothing is opened yet."""

    def __init__(
        self,
        config: Config,
        tokens: Tokens,
        in_vault: InVault | None,
        now: Callable[[], float],
        waits: TokenWaits | None = None,
        *,
        looking: bool = False,
    ) -> None:
        """Build them; ``waits``, if given, measures the store. ``looking``: the store is only read.

        Raises ConfigError if the store, the keys or the log can't be used as they are configured.
        """
        self.issuer = tokens.issuer
        store = token_store(config, looking=looking)
        self.kept: KeptTokens = store if waits is None else TimedStore(waits, store)
        self.known = RevocationList(max_staleness=tokens.revocations_max_age)
        self.store = RevokingStore(self.kept, self.known)
        self.feed = RevocationFeed(
            self.kept,
            self.known,
            now=now,
            chance=random.SystemRandom().random,
            max_staleness=tokens.revocations_max_age,
        )
        self.log = audit_log(tokens, now)
        self.audit: AuditLog = self.log or _NoLog()
        self.keys = signing_keys(
            tokens.keys, self.store, longest_token=tokens.longest_token, now=now, in_vault=in_vault, audit=self.audit
        )
        self.own_keys = OwnKeys(self.keys, self.known)

    async def close(self) -> None:
        """Let go of connections and files."""
        await self.keys.close()
        await self.kept.close()
        if self.log is not None:
            self.log.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a command that only looks has of the configuration's own token service."""

    keys: OwnKeys | None = None
    """None: there is no token service, or no provider of its tokens."""
    notes: tuple[str, ...] = ()
    """What could not be seen, for people."""


@asynccontextmanager
async def seen_issuer(config: Config, secrets: Secrets) -> AsyncIterator[Seen]:
    """The keys and revocations of the configuration's own token service as they are now, for as long as a command takes.

    Nothing is made by looking: no key, no file of a store, no line in the audit log. What can't be had is part of what is
    said of a token.

    Raises:
        ConfigError: They can't be used as they are configured.
    """
    tokens = config.tokens
    if tokens is None or all(one.jwt is None or one.jwt.issuer != tokens.issuer for one in config.providers):
        yield Seen()
        return
    store, notes = config.store, []
    if missing := absent(config):
        # Whoever looks first should not own it. A server begins with an empty one, and judges by that.
        notes.append(f"no revocation is known: {missing}")
        store = store.model_copy(update={"url": "memory:"})
    elif not store.shared and store.file is None:
        notes.append("store.url is memory: what a server has revoked is known to that process alone")
    own = OwnIssuer(
        config.model_copy(update={"store": store}),
        tokens.model_copy(update={"audit": None, "revocations_max_age": math.inf}),
        in_vault_of(secrets, config),
        time.time,
        looking=True,
    )
    try:
        with suppress(SigningError, StoreError):
            await own.keys.refresh()
        await own.feed.look()
        if error := own.feed.state().error:
            notes.append(f"the revocations can't be read: {error}")
        yield Seen(own.own_keys, tuple(notes))
    finally:
        await own.close()


class _NoLog:
    """No audit log is kept."""

    def record(self, event: AuditEvent) -> None:
        """Nothing."""
