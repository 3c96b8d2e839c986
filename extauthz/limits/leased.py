"""Permits taken ahead: what a replica may grant by itself, for how long, and what it has on order.

A lease is some permits of one key that may be used within ``LEASE`` seconds from when they were asked for. The counters
count them as used at the end of that time, the latest at which they can be, so whatever any replica does with them no
sixty seconds (and no second, for a burst) see more than the rate. A permit that is not used by then is lost, and so is as
much of the rate for a minute: at most one lease's size for each replica every ``LEASE`` seconds, and the whole of a rate
that replicas use up is counted for ``LEASE`` seconds longer than it would be in exact mode.

Where a lease would be of one permit, since the rate or its burst is small, there are none: each charge is asked for.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from extauthz.model import Charge, Permit, Rate

if TYPE_CHECKING:
    import asyncio

    from extauthz.limits.shared import Counted

__all__ = ["LEASE", "LeaseBook", "Order", "lease_size"]

LEASE: Final = 2
"""Seconds in which a lease may be used."""
_PARTS: Final = 50
"""Of a minute's rate, one part is a lease."""
_PARTS_OF_BURST: Final = 10
"""Of a burst likewise."""


def lease_size(rate: Rate) -> int:
    """How many permits are taken ahead; 1: none, the rate is too low for that."""
    size = rate.per_minute // _PARTS
    if rate.burst is not None:
        size = min(size, rate.burst // _PARTS_OF_BURST)
    return max(size, 1)


class Order:
    """Permits of one key that the counters are asked for now."""

    __slots__ = ("answer", "asked_at", "permits", "size", "waiting")

    answer: "asyncio.Future[Counted]"

    def __init__(self, size: int, asked_at: float) -> None:
        """Ask for at least ``size``."""
        self.size = size
        self.permits = size
        self.asked_at = asked_at
        self.waiting = 0


class _Lease:
    __slots__ = ("denied_until", "left", "order", "rate", "remaining", "reset", "until")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.left = 0
        self.until = 0.0
        self.remaining = 0
        self.reset = 0
        self.denied_until = 0.0
        self.order: Order | None = None


class LeaseBook:
    """The leases of one replica. At most so many keys; the one that asked longest ago goes first, with its permits."""

    __slots__ = ("_leases", "_max_keys")

    def __init__(self, max_keys: int) -> None:
        """Begin without any."""
        self._leases: OrderedDict[bytes, _Lease] = OrderedDict()
        self._max_keys = max_keys

    def take(self, charge: Charge, now: float) -> Permit | None:
        """One permit of the lease, or a denial that still holds; None: the counters must be asked."""
        lease = self._leases.get(charge.key)
        if lease is None or lease.rate != charge.rate:
            return None
        if lease.left > 0 and now < lease.until:
            lease.left -= 1
            return Permit(granted=True, remaining=lease.left + lease.remaining, reset=lease.reset)
        if now < lease.denied_until:
            wait = int(lease.denied_until - now) + 2
            return Permit(granted=False, remaining=0, reset=wait, retry_after=wait)
        return None

    def ordered(self, charge: Charge) -> Order | None:
        """The order that is under way for this key and rate."""
        lease = self._leases.get(charge.key)
        return lease.order if lease is not None and lease.rate == charge.rate else None

    def order(self, charge: Charge, now: float) -> Order:
        """Open an order. Its lease runs from now: the counters will see it no earlier."""
        lease = self._leases.get(charge.key)
        if lease is None or lease.rate != charge.rate:
            lease = self._leases[charge.key] = _Lease(charge.rate)
        self._leases.move_to_end(charge.key)
        if len(self._leases) > self._max_keys:
            self._leases.popitem(last=False)
        lease.order = Order(lease_size(charge.rate), now)
        return lease.order

    def filled(self, charge: Charge, order: Order, counted: "Counted") -> None:
        """The counters answered an order. What was left of an older lease is lost, not used beyond its time."""
        lease = self._leases.get(charge.key)
        if lease is None or lease.order is not order:
            return  # forgotten or of another rate meanwhile: its permits are lost
        lease.order = None
        lease.left = counted.granted
        lease.until = order.asked_at + LEASE
        lease.remaining = counted.remaining
        lease.reset = counted.reset
        # Whole seconds of the store's clock: as much as is certain. Until then no replica can be granted anything.
        lease.denied_until = order.asked_at + counted.wait - 1 if counted.granted == 0 else 0.0

    def failed(self, charge: Charge) -> None:
        """The counters did not answer: the next one orders anew."""
        lease = self._leases.get(charge.key)
        if lease is not None:
            lease.order = None
