"""The rates of the token service, counted by the limiter that counts those of Checks."""

from collections.abc import Callable

from extauthz.canonical import charge_key
from extauthz.limits import MemoryLimiter
from extauthz.model import Charge, Rate

__all__ = ["TokenMeter"]


class TokenMeter:
    """Implements ``extauthz.tokens.ports.Meter`` in this process's memory."""

    def __init__(self, clock: Callable[[], float], max_keys: int) -> None:
        """``clock`` is monotonic, in seconds; ``max_keys`` bounds how many names are counted at a time."""
        self._limiter = MemoryLimiter(clock=clock, max_keys=max_keys)

    def take(self, kind: str, name: str, per_minute: int) -> int:
        """Count one of a kind under a name: 0, or if that were more than the rate, the seconds until it would not be."""
        permit = self._limiter.take(Charge(charge_key("tokens", kind, name), Rate(per_minute), "", ""))
        return 0 if permit.granted else max(permit.retry_after, 1)
