"""The stores of tokens that there are, each empty for one test, and the values that tests keep in them."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from extauthz.stores.memory_tokens import MemoryTokenStore
from extauthz.stores.redis_tokens import RedisTokenStore
from extauthz.stores.settings import StoreSettings
from extauthz.stores.sqlite_tokens import SqliteTokenStore
from extauthz.tokens.ports import TokenStore
from extauthz.tokens.records import Family, Revocation, Succession
from tests.stores.redis_server import RedisServer

NOW = 1_800_000_000.0
"""What the tests' clock says; stores have none of their own."""
DAY = 86400.0
PATIENCE = 10.0
"""Seconds for each call, on a machine that does other things as well."""

_numbers = itertools.count()


class OpenStore(TokenStore, Protocol):
    """A store as ``extauthz.app`` has it."""

    async def look(self) -> str: ...
    async def close(self) -> None: ...


@dataclass
class Stores:
    """One place where records are kept, and the replicas that a test opens on it."""

    kind: str
    new: Callable[[], OpenStore]
    opened: list[OpenStore] = field(default_factory=list)

    def open(self) -> OpenStore:
        """Another replica. All that is kept in memory is in one."""
        if self.kind == "memory" and self.opened:
            return self.opened[0]
        self.opened.append(self.new())
        return self.opened[-1]


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[Stores]:
    yield Stores("memory", MemoryTokenStore)


@contextlib.asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Stores]:
    yield Stores("sqlite", lambda: SqliteTokenStore(str(folder / "state.db"), timeout=PATIENCE))


@contextlib.asynccontextmanager
async def redis(server: RedisServer) -> AsyncIterator[Stores]:
    server.command("FLUSHALL")
    yield Stores("redis", lambda: RedisTokenStore(StoreSettings(server.url, timeout=PATIENCE)))


def digest(number: int) -> bytes:
    """The digest of the refresh token of that number."""
    return number.to_bytes(32, "big")


def a_family(**changed: object) -> Family:
    """A new family, of another id each time."""
    values: dict[str, object] = {
        "id": f"{next(_numbers):032x}",
        "key": bytes(range(32)),
        "client_id": "shop",
        "subject": "alice",
        "grant": '{"scope":"orders"}',
        "created": NOW,
        "expires": NOW + 30 * DAY,
        "idle_until": NOW + DAY,
        "current": digest(1),
    }
    return Family(**(values | changed))  # type: ignore[arg-type]


def a_succession(presented: int, successor: int, sealed: bytes = b"", **changed: float) -> Succession:
    """The refresh token of one number follows that of another, a moment after which the other may still be presented."""
    times = {"now": NOW, "grace": 10.0, "idle_until": NOW + DAY} | changed
    return Succession(digest(presented), digest(successor), sealed, **times)


def a_revocation(value: str = "", **changed: object) -> Revocation:
    """Of another token each time, unless it is named."""
    values: dict[str, object] = {
        "kind": "token",
        "value": value or f"jti-{next(_numbers)}",
        "before": NOW,
        "until": NOW + 360,
    }
    return Revocation(**(values | changed))  # type: ignore[arg-type]
