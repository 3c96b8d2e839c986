"""From the configuration to the signing keys: for the server, and for a command that works on the same ones."""

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from extauthz.app.audit_log import audit_log
from extauthz.app.token_store import token_store
from extauthz.app.vault import Secrets
from extauthz.app.vault import key_backend as backend_in_vault
from extauthz.config import Config
from extauthz.config import signing as written
from extauthz.errors import ConfigError, Position, Problem
from extauthz.tokens.key_files import FileKeyBackend
from extauthz.tokens.mounted_keys import MountedKeyBackend
from extauthz.tokens.ports import AuditLog, KeyBackend
from extauthz.tokens.records import Revocation
from extauthz.tokens.schedule import KeySchedule
from extauthz.tokens.secret_key import SecretKeyBackend
from extauthz.tokens.signing import SigningKeys

__all__ = ["InVault", "in_vault_of", "key_backend", "opened_signing_keys", "signing_keys"]

InVault = Callable[[written.TransitPlace | written.KvPlace], KeyBackend]
"""What opens keys in Vault; Vault's libraries are imported only where it is called."""


class Store(Protocol):
    """The part of a token store that signing keys need."""

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time."""
        ...

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations."""
        ...


def signing_keys(
    keys: written.SigningKeys,
    store: Store,
    *,
    longest_token: float,
    now: Callable[[], float],
    in_vault: InVault | None = None,
    audit: AuditLog | None = None,
) -> SigningKeys:
    """The signing keys that the configuration asks for; nothing is opened yet.

    ``longest_token`` is the longest that a token may live, in seconds. Whoever owns them runs ``run`` and closes them.

    Raises:
        ConfigError: They are in Vault, and nothing was given that opens it.
    """
    schedule = KeySchedule(
        # Where somebody else writes the keys nothing is made by the clock, and any time fits.
        rotate_every=max(keys.rotate_every, keys.publish_delay + 1.0),
        publish_delay=keys.publish_delay,
        max_token_lifetime=longest_token,
        skew=keys.clock_skew,
        algorithm=keys.algorithm,
    )
    made = SigningKeys(
        key_backend(keys, in_vault),
        schedule,
        store,
        now=now,
        refresh=keys.refresh,
        # What this process computes itself needs no proof that the right key was used.
        check_signatures=keys.place == "transit",
        audit=audit,
        chance=random.SystemRandom().random,
    )

    async def tell(kids: Sequence[str]) -> None:
        # Whoever has the key can write any time into a token, so all of them are meant. By then no replica knows the key.
        until = now() + longest_token + 2 * keys.clock_skew
        await store.revoke([Revocation("key", kid, before=until, until=until) for kid in kids])

    made.on_revoke(tell)
    return made


def key_backend(keys: written.SigningKeys, in_vault: InVault | None = None) -> KeyBackend:
    """What has the keys; nothing is opened yet. Raises ConfigError."""
    if keys.mounted is not None:
        return MountedKeyBackend(
            keys.mounted.current,
            next_key=keys.mounted.next,
            previous=keys.mounted.previous,
            rsa_algorithm="PS256" if keys.algorithm == "PS256" else "RS256",
        )
    if keys.secret_file is not None:
        return SecretKeyBackend(keys.secret_file, keys.encoding or "text")
    place = keys.transit or keys.kv
    if place is None:
        return FileKeyBackend(keys.folder)
    if in_vault is None:
        message = "signing keys are in Vault, and where that is is not said"
        raise ConfigError([Problem(Position(f"tokens.keys.{keys.place}"), message, "set vault.address, or VAULT_ADDR")])
    return in_vault(place)


def in_vault_of(secrets: Secrets, config: Config) -> InVault:
    """What opens keys in the Vault of this process."""

    def opened(place: written.TransitPlace | written.KvPlace) -> KeyBackend:
        vault = secrets.vault(config.vault)
        if isinstance(place, written.TransitPlace):
            return backend_in_vault(vault, "transit", mount=place.mount, key=place.name)
        return backend_in_vault(vault, "kv", key=place.path)

    return opened


@asynccontextmanager
async def opened_signing_keys(
    config: Config, in_vault: InVault | None = None, *, looking: bool = False
) -> AsyncIterator[SigningKeys]:
    """The signing keys of a configuration, for a command: with the store and the audit log that the server has.

    ``looking``: it only reads, so that nothing is made: no file of the store, no secret of the log.

    Raises:
        ConfigError: There is no token service in it, or something of it can't be used.
    """
    tokens = config.tokens
    if tokens is None:
        message = "there is no token service, and so no signing keys"
        raise ConfigError([Problem(Position("tokens"), message, "add the section tokens: docs/tokens.md")])
    store = token_store(config, looking=looking)
    audit = None if looking else audit_log(tokens)
    keys = signing_keys(
        tokens.keys, store, longest_token=tokens.longest_token, now=time.time, in_vault=in_vault, audit=audit
    )
    try:
        yield keys
    finally:
        await keys.close()
        await store.close()
