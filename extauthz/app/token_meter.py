"""The rates of the token service, counted by the limiter that counts those of Checks."""

from collections.abc import Callable

from extauthz.canonical import charge_key
from extauthz.limits import MemoryLimiter
from extauthz.model import Charge, Permit, Rate

__all__ = ["TokenMeter"]


class TokenMeter:
    """Implements ``extauthz.tokens.ports.Meter`` in this process's memory."""

    def __init__(self, clock: Callable[[], float], max_keys: int) -> None:
        """``clock`` is monotonic, in seconds; ``max_keys`` bounds how many names are counted at a time."""
        self._limiter = MemoryLimiter(clock=clock, max_keys=max_keys)

    def take(self, kind: str, name: str, per_minute: int) -> int:
        """Count one of a kind under a name: 0, or if that were more than the rate, the seconds until it would not be."""
        return _seconds(self._limiter.take(_charge(kind, name, per_minute)))

    def wait(self, kind: str, name: str, per_minute: int) -> int:
        """What ``take`` would say now, counting nothing."""
        return _seconds(self._limiter.peek(_charge(kind, name, per_minute)))


def _charge(kind: str, name: str, per_minute: int) -> Charge:
    return Charge(charge_key("tokens", kind, name), Rate(per_minute), "", "")


def _seconds(permit: Permit) -> int:
    return 0 if permit.granted else max(permit.retry_after, 1)
