"""What this process issues tokens with, out of the configuration: store, signing keys, revocations, audit log.

It is there before the authenticator, which verifies own tokens with these keys and asks this list whether they still stand.
The token service itself comes after it (``extauthz.app.token_service``), since it asks the authenticator whom foreign
tokens prove.
"""

import random
from collections.abc import Callable

from extauthz.app.audit_log import audit_log
from extauthz.app.signing import InVault, signing_keys
from extauthz.app.token_store import token_store
from extauthz.config import Config, Tokens
from extauthz.identity import OwnKeys
from extauthz.tokens.ports import AuditEvent, AuditLog
from extauthz.tokens.revocation_feed import RevocationFeed
from extauthz.tokens.revocation_list import RevocationList
from extauthz.tokens.revoking_store import RevokingStore

__all__ = ["OwnIssuer"]


class OwnIssuer:
    """The parts, which belong to one event loop; nothing is opened yet."""

    def __init__(self, config: Config, tokens: Tokens, in_vault: InVault | None, now: Callable[[], float]) -> None:
        """Build them. Raises ConfigError if the store, the keys or the log can't be used as they are configured."""
        self.issuer = tokens.issuer
        self.kept = token_store(config)
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


class _NoLog:
    """No audit log is kept."""

    def record(self, event: AuditEvent) -> None:
        """Nothing."""
