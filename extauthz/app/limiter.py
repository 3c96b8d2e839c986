"""From the configuration to what counts rates: in this process, or in a store with what must run beside it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extauthz.app.shared_store import in_shared_store
from extauthz.config import Config
from extauthz.limits import Limiter, LimiterCounts, MemoryLimiter, SharedCounts, SharedLimiter
from extauthz.serving import Readiness

if TYPE_CHECKING:
    from extauthz.stores import RedisCounters

__all__ = ["RateLimiter", "rate_limiter"]

_CONNECTIONS = 4
"""At a time; what does not fit waits and travels together."""
_LOOK_AT_STORE = 0.2
"""Seconds between looks at the store's state, for readiness."""


@dataclass(frozen=True, slots=True)
class _Shared:
    limiter: SharedLimiter
    counters: "RedisCounters"

    async def run(self) -> None:
        """Heartbeats and probes; the connections are closed at the end."""
        try:
            await self.limiter.run()
        finally:
            await self.counters.close()

    async def report(self, readiness: Readiness) -> None:
        """Tell readiness how the store is, as long as the server runs."""
        while True:
            counts = self.limiter.counts()
            replicas = (
                f"{counts.replicas} replica{'' if counts.replicas == 1 else 's'}"
                if counts.replicas
                else "not asked yet"
            )
            warning = self.counters.warning
            text = counts.error or (f"{replicas}; {warning}" if warning else replicas)
            readiness.store_told(ok=counts.available, text=text)
            await asyncio.sleep(_LOOK_AT_STORE)


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """What counts rates."""

    limiter: Limiter
    memory: Callable[[], LimiterCounts]
    """How the part in this process's memory is doing."""
    shared: _Shared | None = None

    @property
    def store(self) -> Callable[[], SharedCounts] | None:
        """How the shared store is doing; None: there is none."""
        return None if self.shared is None else self.shared.limiter.counts

    def tasks(self, readiness: Readiness) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What must run beside it, by name."""
        shared = self.shared
        if shared is None:
            return {}
        return {"store": shared.run, "store state": lambda: shared.report(readiness)}


def rate_limiter(config: Config, clock: Callable[[], float]) -> RateLimiter:
    """The limiter that the configuration asks for; nothing is connected yet.

    Raises:
        ConfigError: The store's library is not installed, or the store's settings can't be used.
    """
    store, limits = config.store, config.limits
    if not store.shared:
        memory = MemoryLimiter(clock=clock, max_keys=limits.max_keys)
        return RateLimiter(memory, memory.counts)
    from extauthz.stores import RedisCounters

    counters = in_shared_store(config, RedisCounters, timeout=limits.timeout, connections=_CONNECTIONS)
    limiter = SharedLimiter(
        counters, clock=clock, timeout=limits.timeout, leased=limits.mode == "leased", max_keys=limits.max_keys
    )
    return RateLimiter(limiter, limiter.local_counts, _Shared(limiter, counters))
