"""The token service's records in a Redis or Valkey: for any number of replicas, which see the same at the same time.

Each call is one script (``redis_scripts`` and beside it) on the server that has the last word, so nothing is read here to be written back.
What can be long is done in parts, for the server does nothing else meanwhile.

What a call has returned is as durable as the server makes it: with ``appendonly yes`` and ``appendfsync always`` it is on
the disk. To whom it is copied besides, and who takes over, is the operator's affair: ``look`` says what this server does not
do. A store that has lost records shows it by another epoch, as far as it can be seen at all.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import StoreError
from extauthz.stores import redis_family_scripts as families
from extauthz.stores import redis_log_scripts as log
from extauthz.stores import redis_scripts as scripts
from extauthz.stores.client import CLUSTER_CONNECTIONS, close_client, end_if_cancelled, open_client, said
from extauthz.stores.client_records import client_of, record_of
from extauthz.stores.families import selects
from extauthz.stores.redis_durability import durability
from extauthz.stores.settings import StoreSettings
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Family, Outcome, Revocation, RevocationKind, RevocationPage, Rotation, Succession

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

__all__ = ["RedisTokenStore"]

_PART: Final = 1000
"""Records that one script ends, forgets or reads."""

_KINDS: Final[dict[bytes, RevocationKind]] = {
    b"token": "token",
    b"subject": "subject",
    b"client": "client",
    b"family": "family",
    b"key": "key",
}

_NEWER: Final = (
    f"the store has a newer schema, and this version of extauthz knows {scripts.SCHEMA} at most: "
    "start the newer extauthz again, or restore the backup that was made before the upgrade"
)


class RedisTokenStore:
    """Implements ``extauthz.tokens.ports.TokenStore``. Belongs to one event loop."""

    def __init__(self, settings: StoreSettings) -> None:
        """Connect when first asked. ``settings.timeout`` is for each call, or each part of a long one.

        Raises:
            ImportError: The library is not installed.
            OSError, ValueError: A certificate can't be read.
        """
        self._client: Redis | RedisCluster = open_client(settings)
        self._cluster = "+cluster:" in settings.url
        self._timeout = settings.timeout
        # What waits for a connection waits here, and not until the library tires of it.
        self._free = asyncio.Semaphore(CLUSTER_CONNECTIONS if self._cluster else settings.connections)

    async def client(self, client_id: str) -> Client | None:
        """A registered client."""
        record = await self._run(scripts.CLIENT, client_id)
        return None if record is None else client_of(client_id, record)

    async def clients(self) -> Sequence[Client]:
        """All of them, sorted by id."""
        flat = await self._run(scripts.CLIENTS)
        records = {flat[n].decode(): flat[n + 1] for n in range(0, len(flat), 2)}
        return [client_of(client_id, records[client_id]) for client_id in sorted(records)]

    async def put_client(self, client: Client, *, replace: bool) -> bool:
        """Register a client, or put it in the place of the one of that id."""
        return bool(await self._run(scripts.PUT_CLIENT, client.id, record_of(client), int(replace)))

    async def remove_client(self, client_id: str) -> bool:
        """Forget a client; False if there is none."""
        return bool(await self._run(scripts.REMOVE_CLIENT, client_id))

    async def begin(self, family: Family) -> None:
        """Keep a new family. Raises StoreError if there is one of that id: it could be a revoked one."""
        values = (
            family.key,
            family.client_id,
            family.subject,
            family.grant,
            family.created,
            family.expires,
            family.idle_until,
            family.current,
            family.previous,
            family.sealed,
            family.rotated,
            family.generation,
            int(family.revoked),
        )
        if not await self._run(families.BEGIN, family.id, *values):
            raise StoreError("there is a family of that id already: ids are made at random, never again")

    async def family(self, family_id: str) -> Family | None:
        """A family as it is."""
        return _family(family_id, await self._run(families.FAMILY, family_id))

    async def rotate(self, family_id: str, succession: Succession) -> Rotation:
        """Let one refresh token follow another."""
        values = (
            succession.presented,
            succession.successor,
            succession.sealed,
            succession.now,
            succession.grace,
            succession.idle_until,
        )
        outcome, *family = await self._run(families.ROTATE, family_id, *values)
        return Rotation(Outcome(outcome.decode()), _family(family_id, family[0]) if family else None)

    async def end_family(self, family_id: str) -> Family | None:
        """Revoke a family; None if there is none."""
        return _family(family_id, await self._run(families.END_FAMILY, family_id))

    async def end_families(self, *, client_id: str | None = None, subject: str | None = None) -> int:
        """Revoke families; gives how many were not before."""
        selects(client_id, subject)
        given = (("of-client:", client_id), ("of-subject:", subject))
        lists = [kind + value for kind, value in given if value is not None]
        total, more = 0, 1
        while more:
            ended, more = await self._run(families.END_FAMILIES, _PART, *lists)
            total += ended
        return total

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations, all or none."""
        values: list[str | float] = []
        for one in revocations:
            values += (f"{one.kind} {one.value}", one.before, one.until)
        await self._run(log.REVOKE, *values)

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor of this epoch and server, or all."""
        found: list[Revocation] = []
        while True:
            run, _, place = after.partition("-")
            place = place if place.isascii() and place.isdigit() else "0"
            kept, runs, last, whole, more, names, values = await self._run(log.READ, epoch, place, run, _PART)
            if whole:
                found = []
            # A value that is missing was taken away by somebody: the epoch has changed with that.
            found += (_revocation(*one) for one in zip(names, values, strict=True) if one[1] is not None)
            after, epoch = f"{runs.decode()}-{int(last)}", kept.decode()
            if not more:
                return RevocationPage(epoch, after, found)

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time."""
        return bool(await self._run(log.CLAIM, name, until, now))

    async def purge(self, now: float) -> int:
        """Forget what has ended."""
        total = 0
        for script in (families.FORGET_FAMILIES, log.FORGET_REVOCATIONS, log.FORGET_NAMES):
            forgotten = _PART
            while forgotten == _PART:
                forgotten = await self._run(script, now, _PART)
                total += forgotten
        return total

    async def look(self) -> str:
        """What people should know of this server: what it may forget although it was acknowledged.

        Raises:
            StoreError: It can't be reached or written to.
        """
        await self._run(scripts.CLIENT, "")
        try:
            async with asyncio.timeout(self._timeout):
                warning = await durability(self._client, cluster=self._cluster)
        except Exception:  # noqa: BLE001 - an account that may not ask is no fault
            warning = "it could not be asked how durable it is: see docs/stores.md for what must be set"
        end_if_cancelled()
        return warning

    async def close(self) -> None:
        """Close all connections."""
        await close_client(self._client)

    async def _run(self, script: scripts.Script, *values: str | bytes | float) -> Any:
        """What a script answers. Floats keep all of their digits."""
        from redis.exceptions import NoScriptError

        asked = [repr(value) if isinstance(value, float) else value for value in values]
        spare = secrets.token_hex(16)
        try:
            async with asyncio.timeout(self._timeout), self._free:
                if self._cluster:
                    await self._client.initialize()
                try:
                    answer = await self._client.execute_command("EVALSHA", script.sha, 1, scripts.ABOUT, spare, *asked)
                except NoScriptError:
                    answer = await self._client.execute_command("EVAL", script.text, 1, scripts.ABOUT, spare, *asked)
        except TimeoutError:
            raise StoreError(f"the store gave no answer within {self._timeout:g} s") from None
        except UnicodeEncodeError:
            raise StoreError("a text that is not Unicode can't be kept") from None
        except Exception as error:  # the library's faults have no root in common
            end_if_cancelled()
            raise _fault(error) from error
        end_if_cancelled()
        return answer


def _fault(error: Exception) -> StoreError:
    text = said(error)
    if "SCHEMA " in text:
        return StoreError(_NEWER)
    if "DAMAGED" in text:
        return StoreError("the record of a family can't be read: damaged, or written by somebody else")
    return StoreError(f"the store does not answer as it should: {text}")


def _family(family_id: str, values: list[bytes] | None) -> Family | None:
    if not values:
        return None
    key, client_id, subject, grant, created, expires, idle_until, *rest = values
    current, previous, sealed, rotated, generation, revoked = rest
    return Family(
        id=family_id,
        key=key,
        client_id=client_id.decode(),
        subject=subject.decode(),
        grant=grant.decode(),
        created=float(created),
        expires=float(expires),
        idle_until=float(idle_until),
        current=current,
        previous=previous,
        sealed=sealed,
        rotated=float(rotated),
        generation=int(generation),
        revoked=revoked == b"1",
    )


def _revocation(name: bytes, values: bytes) -> Revocation:
    kind, _, value = name.partition(b" ")
    before, until = values.split()
    return Revocation(_KINDS[kind], value.decode(), float(before), float(until))
