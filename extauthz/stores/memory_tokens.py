"""The token service's records in this process: for a laptop and for tests, forgotten when the process ends.

One dict for each kind of record, and no await between reading and writing, so that each call is one step for everybody on
the event loop that it belongs to. Revocations are in the order in which they were acknowledged; one that is made again goes
to the end, where whoever has read it already finds it anew.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from extauthz.errors import StoreError
from extauthz.stores.families import ends, rotation, selects
from extauthz.stores.revocations import joined
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Family, Outcome, Revocation, RevocationPage, Rotation, Succession

__all__ = ["MemoryTokenStore"]


class MemoryTokenStore:
    """Implements ``extauthz.tokens.ports.TokenStore``: durable for as long as it lives, and never down."""

    def __init__(self) -> None:
        """Begin empty, with an epoch of its own."""
        self._epoch = secrets.token_hex(16)
        self._clients: dict[str, Client] = {}
        self._families: dict[str, Family] = {}
        self._places: dict[tuple[str, str], tuple[int, Revocation]] = {}
        self._place = 0
        self._claimed: dict[str, float] = {}

    async def client(self, client_id: str) -> Client | None:
        """A registered client."""
        return self._clients.get(client_id)

    async def clients(self) -> Sequence[Client]:
        """All of them, sorted by id."""
        return [self._clients[client_id] for client_id in sorted(self._clients)]

    async def put_client(self, client: Client, *, replace: bool) -> bool:
        """Register a client, or put it in the place of the one of that id."""
        if (client.id in self._clients) is not replace:
            return False
        self._clients[client.id] = client
        return True

    async def remove_client(self, client_id: str) -> bool:
        """Forget a client; False if there is none."""
        return self._clients.pop(client_id, None) is not None

    async def begin(self, family: Family) -> None:
        """Keep a new family. Raises StoreError if there is one of that id: it could be a revoked one."""
        if family.id in self._families:
            raise StoreError("there is a family of that id already: ids are made at random, never again")
        self._families[family.id] = family

    async def family(self, family_id: str) -> Family | None:
        """A family as it is."""
        return self._families.get(family_id)

    async def rotate(self, family_id: str, succession: Succession) -> Rotation:
        """Let one refresh token follow another."""
        family = self._families.get(family_id)
        if family is None:
            return Rotation(Outcome.UNKNOWN)
        done = rotation(family, succession)
        if done.family is not None:
            self._families[family_id] = done.family
        return done

    async def end_family(self, family_id: str) -> Family | None:
        """Revoke a family; None if there is none."""
        family = self._families.get(family_id)
        if family is None:
            return None
        self._families[family_id] = ended = replace(family, revoked=True)
        return ended

    async def end_families(self, *, client_id: str | None = None, subject: str | None = None) -> int:
        """Revoke families; gives how many were not before."""
        meant = selects(client_id, subject)
        ended = [family for family in self._families.values() if not family.revoked and meant(family)]
        self._families.update((family.id, replace(family, revoked=True)) for family in ended)
        return len(ended)

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations."""
        for revocation in revocations:
            what = (revocation.kind, revocation.value)
            _, before = self._places.get(what, (0, None))
            whole = joined(before, revocation)
            if whole != before:
                self._place += 1
                self._places.pop(what, None)
                self._places[what] = (self._place, whole)

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor of this epoch, or all."""
        last = int(after) if epoch == self._epoch and after.isascii() and after.isdigit() else 0
        newer = list(takewhile(lambda entry: entry[0] > last, reversed(self._places.values())))
        return RevocationPage(self._epoch, str(self._place), [revocation for _, revocation in reversed(newer)])

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time."""
        if self._claimed.get(name, now) > now:
            return False
        self._claimed[name] = until
        return True

    async def purge(self, now: float) -> int:
        """Forget what has ended."""
        families = [family.id for family in self._families.values() if ends(family) <= now]
        revoked = [what for what, (_, revocation) in self._places.items() if revocation.until <= now]
        claimed = [name for name, until in self._claimed.items() if until <= now]
        for family_id in families:
            del self._families[family_id]
        for what in revoked:
            del self._places[what]
        for name in claimed:
            del self._claimed[name]
        return len(families) + len(revoked) + len(claimed)

    async def look(self) -> str:
        """What people should know of it."""
        return "records are in the memory of this process, and end with it: set store.url to sqlite:/// or redis://"

    async def close(self) -> None:
        """Nothing is open."""
