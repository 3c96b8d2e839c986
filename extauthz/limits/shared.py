"""Rates that replicas share: each charge is asked of counters outside, or answered from a lease that they gave.

The counters decide, atomically and by their own clock; this asks them, and says what holds when they don't answer. A
request waits for them no longer than the timeout, and not at all while they are known to be down: then nobody but the
heartbeat tries them (``extauthz.limits.breaker``). Without them a charge is denied, or counted here with this replica's
part of the rate, as the charge says. Never is it granted for lack of an answer: a replica that has not heard yet how many
there are does not know its part, and denies.

What that costs: the local count begins empty, so sixty seconds in which the store fails can see the rate once from the
store and once from the replicas.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from extauthz.limits.breaker import Breaker
from extauthz.limits.leased import LEASE, LeaseBook, Order, lease_size
from extauthz.limits.memory import DEFAULT_MAX_KEYS, LimiterCounts, MemoryLimiter
from extauthz.model import Charge, Deny, Permit, Rate, Reason

__all__ = ["Counted", "CountersError", "SharedCounters", "SharedCounts", "SharedLimiter", "Wanted"]

_UNAVAILABLE = "the store that counts the rate does not answer"
_PROBE = 1.0
"""Seconds for a heartbeat, at least: it may have to connect first, which can take longer than a request may wait."""


class Wanted(NamedTuple):
    """What the counters are asked."""

    key: bytes
    rate: Rate
    permits: int = 1
    """As many as there is room for, up to this."""
    lease: int = 0
    """Seconds in which the permits may be used; they are counted as if all were used at the end."""


class Counted(NamedTuple):
    """What the counters answer."""

    granted: int
    remaining: int
    """What is left after that."""
    reset: int
    """Whole seconds until some of what was used is back."""
    wait: int
    """Whole seconds until one more could be granted; 0: it could be now."""


class CountersError(Exception):
    """The counters gave no answer."""

    def __init__(self, message: str, *, only_this: bool = False) -> None:
        """``only_this``: what is wrong is this one key, and the counters answer others."""
        super().__init__(message)
        self.only_this = only_this


class SharedCounters(Protocol):
    """Counters outside of this process. Belongs to one event loop."""

    def ask(self, wanted: Wanted) -> Awaitable[Counted]:
        """Count. The awaitable may be awaited by several, and who stops waiting disturbs nobody.

        Raises:
            CountersError: No answer; it may have been counted nevertheless.
        """
        ...

    async def heartbeat(self) -> int:
        """Tell that this replica is there, by a write; gives how many there are, this one included.

        Once it is connected, it waits for an answer no longer than requests do.

        Raises:
            CountersError: The store can't be written to, or is too slow.
        """
        ...


@dataclass(frozen=True, slots=True)
class SharedCounts:
    """How a limiter is doing, for metrics and readiness."""

    available: bool
    """Whether the store is asked now."""
    since: float
    """Since when that is so, by the limiter's clock."""
    error: str
    """What went wrong last; empty if nothing has since it was well."""
    replicas: int
    """How many replicas the store knew of last; 0: it was never heard."""
    asked: int
    """Questions to the store."""
    failed: int
    """Those of them that had no answer in time."""
    leased: int
    """Charges that were answered from a lease."""
    local: int
    """Charges that were counted here, for want of a store."""
    denied: int
    """Charges that were denied, for want of a store."""


class SharedLimiter:
    """Implements ``extauthz.limits.Limiter``. ``run`` must be running, or a store that failed once is never asked again."""

    def __init__(
        self,
        counters: SharedCounters,
        *,
        clock: Callable[[], float],
        timeout: float,
        leased: bool = False,
        max_keys: int = DEFAULT_MAX_KEYS,
    ) -> None:
        """Ask these counters.

        ``clock`` is monotonic and in seconds, ``timeout`` the most seconds that a request waits, ``leased`` whether
        permits are taken ahead, ``max_keys`` how many callers are remembered here.
        """
        self._counters = counters
        self._clock = clock
        self._timeout = timeout
        self._book = LeaseBook(max_keys) if leased else None
        self._local = MemoryLimiter(clock=clock, max_keys=max_keys)
        self._breaker = Breaker(clock)
        self._replicas = 0
        self._asked = self._failed = self._leased = self._counted_here = self._denied = 0

    def take(self, charge: Charge) -> "Permit | Deny | PendingCharge":
        """Charge one request: at once from a lease, or while the store is down; else there is something to await."""
        if self._book is not None:
            permit = self._book.take(charge, self._clock())
            if permit is not None:
                self._leased += 1
                return permit
        if not self._breaker.closed:
            return self._without_store(charge)
        return PendingCharge(self, charge)

    def counts(self) -> SharedCounts:
        """How it is doing."""
        breaker = self._breaker
        return SharedCounts(
            breaker.closed,
            breaker.since,
            breaker.error,
            self._replicas,
            self._asked,
            self._failed,
            self._leased,
            self._counted_here,
            self._denied,
        )

    def local_counts(self) -> LimiterCounts:
        """How the memory limiter is doing that counts while the store is down."""
        return self._local.counts()

    async def run(self) -> None:
        """Tell the store that this replica is there, and try it again while it is down; never ends by itself."""
        most = max(self._timeout, _PROBE)
        while True:
            try:
                async with asyncio.timeout(most):
                    self._replicas = max(await self._counters.heartbeat(), 1)
            except CountersError as error:
                self._breaker.probe_failed(str(error))
            except TimeoutError:
                self._breaker.probe_failed(_too_slow(most))
            else:
                self._breaker.probe_succeeded()
            await self._breaker.until_next_probe()

    async def settle(self, charge: Charge) -> Permit | Deny:
        """Ask the store; within the timeout."""
        try:
            async with asyncio.timeout(self._timeout):
                if self._book is not None and lease_size(charge.rate) > 1:
                    return await self._lease(self._book, charge)
                return _permit(await self._ask(Wanted(charge.key, charge.rate)))
        except CountersError as error:
            self._failed += 1
            if not error.only_this:
                self._breaker.failed(str(error))
        except TimeoutError:
            self._failed += 1
            self._breaker.failed(_too_slow(self._timeout))
        return self._without_store(charge)

    async def _ask(self, wanted: Wanted) -> Counted:
        self._asked += 1
        counted = await self._counters.ask(wanted)
        self._breaker.succeeded()
        return counted

    async def _lease(self, book: LeaseBook, charge: Charge) -> Permit:
        """Permits for all who wait for this key are asked for together; one question at a time."""
        while True:
            permit = book.take(charge, self._clock())
            if permit is not None:
                return permit
            order = book.ordered(charge)
            if order is None:
                order = book.order(charge, self._clock())
                order.answer = asyncio.ensure_future(self._fill(book, order, charge))
                order.answer.add_done_callback(_seen)
            order.waiting += 1
            try:
                counted = await asyncio.shield(order.answer)
            finally:
                order.waiting -= 1
            if counted.granted == 0:
                return _permit(counted)
            # If others were faster, the next answer says how long to wait.

    async def _fill(self, book: LeaseBook, order: Order, charge: Charge) -> Counted:
        await asyncio.sleep(0)  # all who come within this turn of the loop are in one order
        order.permits = max(order.size, order.waiting)
        try:
            counted = await self._ask(Wanted(charge.key, charge.rate, order.permits, LEASE))
        except BaseException:
            book.failed(charge)
            raise
        book.filled(charge, order, counted)
        return counted

    def _without_store(self, charge: Charge) -> Permit | Deny:
        """What holds for a charge that the store did not count."""
        if charge.local_without_store and self._replicas:
            part = _part(charge.rate, self._replicas)
            if part is not None:
                self._counted_here += 1
                return self._local.take(charge._replace(rate=part))
        self._denied += 1
        return Deny(Reason.STORE_UNAVAILABLE, _UNAVAILABLE, charge.policy, charge.rule, retry_after=1)


class PendingCharge:
    """Implements ``extauthz.limits.Pending``."""

    __slots__ = ("_charge", "_limiter")

    def __init__(self, limiter: SharedLimiter, charge: Charge) -> None:
        """Keep what is asked, and of whom."""
        self._limiter = limiter
        self._charge = charge

    async def settle(self) -> Permit | Deny:
        """The answer of the store, or what holds without it."""
        return await self._limiter.settle(self._charge)


def _permit(counted: Counted) -> Permit:
    return Permit(counted.granted > 0, counted.remaining, counted.reset, 0 if counted.granted else max(counted.wait, 1))


def _part(rate: Rate, replicas: int) -> Rate | None:
    """One replica's part: rounded down, so that all together keep the rate. None: less than one request."""
    per_minute = rate.per_minute // replicas
    burst = None if rate.burst is None else rate.burst // replicas
    return None if per_minute < 1 or burst == 0 else Rate(per_minute, burst)


def _too_slow(seconds: float) -> str:
    return f"no answer within {seconds * 1000:g} ms"


def _seen(answer: "asyncio.Future[Counted]") -> None:
    """An order may outlive all who waited for it; what went wrong was told to those who were there."""
    if not answer.cancelled():
        answer.exception()
