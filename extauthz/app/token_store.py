"""From the configuration to what keeps the token service's records: memory, a SQLite file, or a Redis or Valkey."""

from pathlib import Path
from typing import Protocol

from extauthz.app.shared_store import in_shared_store
from extauthz.config import Config
from extauthz.stores import MemoryTokenStore, RedisTokenStore, SqliteTokenStore
from extauthz.tokens.ports import TokenStore

__all__ = ["KeptTokens", "absent", "token_store"]

_TIMEOUT = 1.0
"""Seconds for each call. Longer than what a Check may wait: a token is asked for once in minutes."""

_CONNECTIONS = 16
"""At a time to a Redis: what comes together there waits for its disk together."""


class KeptTokens(TokenStore, Protocol):
    """A token store as whoever built it has it."""

    async def look(self) -> str:
        """What people should know of it although it works; empty: nothing.

        Raises:
            StoreError: It can't be used now, and how that is mended.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...


def token_store(config: Config, *, timeout: float = _TIMEOUT, looking: bool = False) -> KeptTokens:
    """The store that the configuration asks for; nothing is opened or connected yet.

    ``looking``: for a command that only reads. A file is neither made nor changed.

    Raises:
        ConfigError: The store's library is not installed, or the store's settings can't be used.
    """
    store = config.store
    if store.file is not None:
        return SqliteTokenStore(store.file, timeout=timeout, looking=looking)
    if not store.shared:
        return MemoryTokenStore()
    return in_shared_store(config, RedisTokenStore, timeout=timeout, connections=_CONNECTIONS)


def absent(config: Config) -> str:
    """What to tell people if the store is a file that is not there yet; empty: it is there, or no file."""
    file = config.store.file
    if file is None or Path(file).exists():
        return ""
    return f"{file} is not there yet: extauthz serve makes it when it starts"
