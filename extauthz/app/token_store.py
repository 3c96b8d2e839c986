"""From the configuration to what keeps the token service's records: memory, a SQLite file, or a Redis or Valkey."""

from typing import Protocol

from extauthz.config import Config
from extauthz.errors import ConfigError, Position, Problem
from extauthz.stores import MemoryTokenStore, RedisTokenStore, SqliteTokenStore, StoreSettings
from extauthz.tokens.ports import TokenStore

__all__ = ["KeptTokens", "token_store"]

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


def token_store(config: Config, *, timeout: float = _TIMEOUT) -> KeptTokens:
    """The store that the configuration asks for; nothing is opened or connected yet.

    Raises:
        ConfigError: The store's library is not installed, or the store's settings can't be used.
    """
    store = config.store
    if store.file is not None:
        return SqliteTokenStore(store.file, timeout=timeout)
    if not store.shared:
        return MemoryTokenStore()
    try:
        return RedisTokenStore(
            StoreSettings(
                url=store.url,
                username=store.username,
                username_file=store.username_file,
                password_file=store.password_file,
                ca_file=store.ca_file,
                cert_file=store.cert_file,
                key_file=store.key_file,
                timeout=timeout,
                connections=_CONNECTIONS,
            )
        )
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        message = "a shared store needs the redis client, which is not installed"
        raise ConfigError([Problem(Position("store"), message, 'pip install "extauthz[redis]"')]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(Position("store"), f"can't be used: {error}", "see store in the docs")]) from None
