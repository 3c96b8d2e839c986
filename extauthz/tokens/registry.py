"""Which clients there are: those of the configuration, and those that were registered in the store.

The configuration wins: what an operator reads in a reviewed file holds whatever somebody has put into the store. An id that
both have is told (``clashes``), because whoever registered the other one waits in vain.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from extauthz.tokens.clients import MINT, Client
from extauthz.tokens.ports import TokenStore

__all__ = ["ClientRegistry", "is_client_id"]

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~/@-]{0,127}\Z")


def is_client_id(text: str) -> bool:
    """Whether a client may be called so. No id has a colon, so no client is called like the subject of an exchange."""
    return _ID.match(text) is not None


class ClientRegistry:
    """Finds clients."""

    def __init__(self, configured: Mapping[str, Client], store: TokenStore) -> None:
        """Begin with the clients of the configuration, by id."""
        self._configured = configured
        self._store = store

    def configure(self, configured: Mapping[str, Client]) -> None:
        """Put these in the place of the configured clients, when one of their files has changed."""
        self._configured = configured

    async def find(self, client_id: str) -> Client | None:
        """The client of that id; None if there is none, it is disabled, or nobody can be it. Raises ``StoreError``."""
        if client_id == MINT:
            return None
        client = self._configured.get(client_id)
        if client is None and is_client_id(client_id):
            client = await self._store.client(client_id)
        return None if client is None or client.disabled else client

    async def clashes(self) -> Sequence[str]:
        """The ids that configuration and store both have. Raises ``StoreError``."""
        return [client.id for client in await self._store.clients() if client.id in self._configured]
