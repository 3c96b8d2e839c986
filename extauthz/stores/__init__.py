"""What the rooms above ask to be kept outside of this process, and the clients that keep it there."""

from extauthz.stores.memory_tokens import MemoryTokenStore
from extauthz.stores.redis_counters import RedisCounters
from extauthz.stores.redis_tokens import RedisTokenStore
from extauthz.stores.settings import StoreSettings
from extauthz.stores.sqlite_tokens import SqliteTokenStore

__all__ = ["MemoryTokenStore", "RedisCounters", "RedisTokenStore", "SqliteTokenStore", "StoreSettings"]
