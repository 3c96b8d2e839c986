"""Clients of the token service that are registered in its store: made, given a new secret, listed, disabled, removed.

What such a client may have is written and checked like one of the configuration. A secret is made here, shown once, and
kept as its digest.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from extauthz.app.token_records import TokenRecords, opened_records, who, written_tokens
from extauthz.app.token_store import absent
from extauthz.app.written_clients import client_value
from extauthz.config import Config, TokenClient, Tokens, token_client_faults
from extauthz.errors import ExtAuthzError, KeySetError
from extauthz.identity import ClientAssertions
from extauthz.identity.providers import ASYMMETRIC_ALGORITHMS
from extauthz.tokens.client_authentication import secret_digest
from extauthz.tokens.clients import Client
from extauthz.tokens.endings import end_of_everything
from extauthz.tokens.ports import AuditEvent

__all__ = [
    "Registered",
    "Removal",
    "add_client",
    "give_secret",
    "registered_clients",
    "remove_client",
    "switch_client",
]

_PREFIX = "ecs_"
"""Lets secret scanners find leaked ones."""
_BYTES = 32
_MADE = "(made here)"
"""Stands where a client of the configuration has the path of its secret."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A client, and the secret that was made for it."""

    client: Client
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Removal:
    """What has become of a client."""

    removed: bool
    """There was one in the store."""
    written: bool
    """There is one of that id in the configuration: it has what it had."""


async def add_client(
    config: Config,
    written: dict[str, Any],
    *,
    replaces: bool,
) -> Registered | None:
    """Register a client; None, and nothing is changed, if ``replaces`` is not whether there is one of that id.

    ``written`` is what an entry of ``tokens.clients`` would say.

    Raises:
        ExtAuthzError: It can't be a client, or it can't be registered now.
    """
    async with opened_records(config) as records:
        entry = _entry(config, records.tokens, written)
        secret = _PREFIX + secrets.token_urlsafe(_BYTES) if entry.secret_file else ""
        made = Registered(_client(entry, records.tokens, secret), secret)
        if any(client.id == entry.id for client in records.tokens.clients):
            raise ExtAuthzError(f"the configuration has a client {entry.id!r}, which would count instead")
        if not replaces and await records.store.client(entry.id) is None:
            # A session that began while an earlier client of this id was removed is none of this one's.
            await records.store.end_families(client_id=entry.id)
        if not await records.store.put_client(made.client, replace=replaces):
            return None
        records.done(_event(made.client.id, "replaced" if replaces else "added"))
        return made


async def give_secret(config: Config, client_id: str, *, alone: bool) -> Registered | None:
    """Make a new secret for a client, beside the last one, or alone. None if there is no client with secrets of that id."""
    async with opened_records(config) as records:
        client = await records.store.client(client_id)
        if client is None or not client.secret_digests:
            return None
        secret = _PREFIX + secrets.token_urlsafe(_BYTES)
        kept = () if alone else client.secret_digests[:1]
        changed = replace(client, secret_digests=(secret_digest(secret), *kept))
        await records.store.put_client(changed, replace=True)
        records.done(_event(client_id, "has a new secret" + ("; all others are void" if alone else "")))
        return Registered(changed, secret)


async def registered_clients(config: Config) -> Sequence[Client]:
    """All clients in the store. Nothing is made or changed by looking; a file that is not there yet has none."""
    written_tokens(config)
    if absent(config):
        return []
    async with opened_records(config, looking=True) as records:
        return await records.store.clients()


async def switch_client(config: Config, client_id: str, *, disabled: bool) -> bool:
    """Disable a client and end all that it was given, or let it have tokens again; False if there is none.

    Raises:
        ExtAuthzError: It is a client of the configuration, or it can't be done now.
    """
    async with opened_records(config) as records:
        if _is_written(records, client_id):
            raise ExtAuthzError(
                f"the configuration has the client {client_id!r}: it counts until it is taken out there"
            )
        client = await records.store.client(client_id)
        if client is None:
            return False
        await records.store.put_client(replace(client, disabled=disabled), replace=True)
        if disabled:
            await _end_all(records, client_id)
        what = "disabled, and all that it was given is revoked" if disabled else "enabled"
        records.done(_event(client_id, what))
        return True


async def remove_client(config: Config, client_id: str) -> Removal:
    """Forget a client, and end all that it was given.

    That is ended too if there is none of that id (any more): for a client that was in the configuration, and for a
    command that was interrupted. What a client has that still is in the configuration stays.
    """
    async with opened_records(config) as records:
        written = _is_written(records, client_id)
        if not written:
            # Before it is gone as well: whoever is interrupted here finds it still there.
            await _end_all(records, client_id)
        removed = await records.store.remove_client(client_id)
        if written:
            what = "removed from the store; it is in the configuration"
        else:
            await _end_all(records, client_id)
            what = (
                "removed, and all that it was given is revoked"
                if removed
                else "not there; all that it was given is revoked"
            )
        if removed or not written:
            records.done(_event(client_id, what))
        return Removal(removed, written)


def _is_written(records: TokenRecords, client_id: str) -> bool:
    return any(client.id == client_id for client in records.tokens.clients)


async def _end_all(records: TokenRecords, client_id: str) -> None:
    """End access tokens and sessions of a client; both are durable when this returns."""
    await records.store.revoke(end_of_everything("client", client_id, time.time()))
    await records.store.end_families(client_id=client_id)


def _entry(config: Config, tokens: Tokens, written: dict[str, Any]) -> TokenClient:
    """The client as it would be in the configuration, if it could be there."""
    proofs = ("jwksFile", "certificateSubject")
    text = written if any(written.get(name) for name in proofs) else {**written, "secretFile": _MADE}
    try:
        entry = TokenClient.model_validate({name: value for name, value in text.items() if value not in (None, (), "")})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise ExtAuthzError("\n".join(faults).replace("Value error, ", "")) from None
    faults = [
        f"{fault.message}" + (f" ({fault.hint})" if fault.hint else "")
        for fault in token_client_faults(config, tokens, entry)
    ]
    if faults:
        raise ExtAuthzError("\n".join(faults))
    return entry


def _client(entry: TokenClient, tokens: Tokens, secret: str) -> Client:
    return client_value(
        entry,
        tokens,
        secret_digests=(secret_digest(secret),) if secret else (),
        public_keys=None if entry.jwks_file is None else _keys(entry.jwks_file),
    )


def _keys(path: str) -> Any:
    try:
        return ClientAssertions(frozenset(ASYMMETRIC_ALGORITHMS)).key_set(Path(path).read_bytes())
    except OSError as error:
        raise ExtAuthzError(f"{path} can't be read: {error.strerror}") from None
    except KeySetError as error:
        raise ExtAuthzError(f"{path}: {error}; a JWK Set with the client's public keys is wanted") from None


def _event(client_id: str, what: str) -> AuditEvent:
    return AuditEvent("client", "done", client_id=client_id, detail=f"{what} {who()}")
