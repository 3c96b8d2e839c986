"""How often: charges counted in a sliding window, in this process or in a store that replicas share."""

from extauthz.limits.leased import LEASE, lease_size
from extauthz.limits.limiter import Limiter, Pending
from extauthz.limits.memory import LimiterCounts, MemoryLimiter
from extauthz.limits.shared import Counted, CountersError, SharedCounters, SharedCounts, SharedLimiter, Wanted

__all__ = [
    "LEASE",
    "Counted",
    "CountersError",
    "Limiter",
    "LimiterCounts",
    "MemoryLimiter",
    "Pending",
    "SharedCounters",
    "SharedCounts",
    "SharedLimiter",
    "Wanted",
    "lease_size",
]
