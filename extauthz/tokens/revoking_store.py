"""The token store of a process whose Checks are to know at once what it revokes.

Everything goes to the store as it is. What is revoked is in force here when the store has kept it, before anybody is told
that it is revoked: no Check of this process lets a token through that somebody here was promised to be dead.
"""

from collections.abc import Sequence

from extauthz.tokens.clients import Client
from extauthz.tokens.ports import TokenStore
from extauthz.tokens.records import Family, Revocation, RevocationPage, Rotation, Succession
from extauthz.tokens.revocation_list import RevocationList

__all__ = ["RevokingStore"]


class RevokingStore:
    """Implements ``extauthz.tokens.ports.TokenStore`` by another one."""

    def __init__(self, store: TokenStore, known: RevocationList) -> None:
        """Keep the store, and the list that the Checks of this process ask."""
        self._store = store
        self._known = known

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations, and put them in force here."""
        await self._store.revoke(revocations)
        self._known.add(revocations)

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor."""
        return await self._store.revocations(after, epoch)

    async def client(self, client_id: str) -> Client | None:
        """A registered client."""
        return await self._store.client(client_id)

    async def clients(self) -> Sequence[Client]:
        """All of them."""
        return await self._store.clients()

    async def put_client(self, client: Client, *, replace: bool) -> bool:
        """Register a client."""
        return await self._store.put_client(client, replace=replace)

    async def remove_client(self, client_id: str) -> bool:
        """Forget a client."""
        return await self._store.remove_client(client_id)

    async def begin(self, family: Family) -> None:
        """Keep a new family."""
        await self._store.begin(family)

    async def family(self, family_id: str) -> Family | None:
        """A family as it is."""
        return await self._store.family(family_id)

    async def rotate(self, family_id: str, succession: Succession) -> Rotation:
        """Let one refresh token follow another."""
        return await self._store.rotate(family_id, succession)

    async def end_family(self, family_id: str) -> Family | None:
        """Revoke a family."""
        return await self._store.end_family(family_id)

    async def end_families(self, *, client_id: str | None = None, subject: str | None = None) -> int:
        """Revoke families."""
        return await self._store.end_families(client_id=client_id, subject=subject)

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time."""
        return await self._store.use_once(name, until, now=now)

    async def purge(self, now: float) -> int:
        """Forget what has ended."""
        return await self._store.purge(now)
