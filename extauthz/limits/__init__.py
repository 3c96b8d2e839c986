"""How often: charges counted in a sliding window, in this process or in a store that replicas share."""

from extauthz.limits.limiter import Limiter, Pending
from extauthz.limits.memory import LimiterCounts, MemoryLimiter

__all__ = ["Limiter", "LimiterCounts", "MemoryLimiter", "Pending"]
