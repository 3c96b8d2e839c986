"""Rates counted in this process: one integer a caller, a bound on callers, and a clock that only goes forward.

A caller is kept until nothing of what it used is younger than 61 seconds; then it is idle, and forgetting it loses nothing.
Each new caller takes out one or two that are idle, so there are about as many as were active in the last minute.

When there is no room for a new caller and nobody is idle, the one nearest to idle is forgotten: of those whose rate was
not used up, the one whose last request is longest ago. It had something left, so what is granted to it too much is at most
one request less than its rate (or its burst); and to bring that about once, about as many others as there is room for must
have come after it, within a minute. A caller whose rate was used up is never forgotten before it is idle: they are kept
apart, and if there are no others, new callers are denied.

Callers are in many small tables, each in the order of the last request that was granted. A dict keeps its order by itself,
finds its first entry by skipping those that were taken out, and is copied when it grows; in a small one that is over in
microseconds, and in one of a million it keeps everybody waiting for longer than a proxy does. Dicts take less memory than a
linked list, and up to CPython 3.13 the garbage collector does not walk those that hold nothing but bytes and integers. A
caller's table is chosen by a hash that differs from process to process, so nobody can fill that of somebody else. There is
one bound for all, and room for a new caller is made in its own table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from extauthz.limits.window import FIELDS, SLOTS, advanced, bits_of, oldest, room, waiting, widened
from extauthz.model import Charge, Permit, Rate

__all__ = ["DEFAULT_MAX_KEYS", "LimiterCounts", "MemoryLimiter"]

DEFAULT_MAX_KEYS: Final = 1_000_000
_TABLE: Final = 1024
"""Callers of one table on average, at most."""

# A caller's state is one integer. From the lowest bit: the width of its window's fields, the second of the last request that
# was granted, the window as it was then. What is refused writes nothing.
_WIDTH: Final = (1 << 5) - 1
_SECOND: Final = 5
_SECONDS: Final = (1 << 34) - 1
_WINDOW: Final = 39
_ONE: Final = 1 << _WINDOW
"""One more request in the slot that goes on."""

_permit: Final = Permit._make
"""Half the time of ``Permit(...)``, once for each request."""


@dataclass(frozen=True, slots=True)
class LimiterCounts:
    """How a limiter is doing, for metrics."""

    keys: int
    """Callers that are counted now."""
    forgotten: int
    """Callers that were forgotten before they were idle, for lack of room."""
    refused: int
    """Requests of new callers that were denied, for lack of room."""


class MemoryLimiter:
    """Implements ``extauthz.limits.Limiter``; answers at once. Belongs to one thread."""

    __slots__ = ("_clock", "_forgotten", "_keys", "_last", "_mask", "_max_keys", "_offset", "_refused", "_tables")

    def __init__(self, *, clock: Callable[[], float], max_keys: int = DEFAULT_MAX_KEYS) -> None:
        """Begin empty.

        ``clock`` is in seconds and must be monotonic: a jump forward can't be told from time that has passed. If it jumps
        back nevertheless, time stands still for that moment and goes on from there.
        """
        self._clock = clock
        self._last = clock()
        self._offset = -self._last
        self._max_keys = max_keys
        tables = 1 << ((max_keys - 1) // _TABLE).bit_length()
        self._mask = tables - 1
        # Of each table those who have something left, and those who have not.
        self._tables: list[tuple[dict[bytes, int], dict[bytes, int]]] = [({}, {}) for _ in range(tables)]
        self._keys = 0
        self._forgotten = 0
        self._refused = 0

    def take(self, charge: Charge) -> Permit:
        """Charge one request, unless that would be more than the rate."""
        rate, key = charge.rate, charge.key
        # What nearly every request comes to, without a call, here and below: the functions below say the same.
        now = self._clock()
        if now < self._last:
            self._offset += self._last - now
        self._last = now
        second = int(now + self._offset)
        able, exhausted = self._tables[hash(key) & self._mask]
        held = able
        state = able.get(key)
        if state is not None and rate.burst is None:
            bits = state & _WIDTH
            field = FIELDS[bits]
            window = state >> _WINDOW
            passed = second - ((state >> _SECOND) & _SECONDS)
            if passed:
                window = advanced(window, passed, bits)
                state = (window << _WINDOW) | (second << _SECOND) | bits
            left = rate.per_minute - window % field
            if left > 1 and rate.per_minute < field:
                del able[key]
                able[key] = state + _ONE
                return _permit((True, left - 1, SLOTS - (window.bit_length() - 1) // bits if window else SLOTS, 0))
            state = able[key]
        if state is None:
            held = exhausted
            state = exhausted.get(key)
        if state is not None:
            window, bits = _read(state, rate, second)
        elif self._full(able, exhausted, second):
            self._refused += 1
            return _no_room(exhausted, second)
        else:
            self._make_room(able, exhausted, second)
            window, bits = 0, bits_of(rate)
        left = room(window, rate, bits)
        if left <= 0:
            if held is able:
                # Its rate was lowered.
                exhausted[key] = able.pop(key)
            return _refusal(window, rate, bits)
        # To the end, behind all whose last request was granted before.
        held.pop(key, None)
        held = able if left > 1 else exhausted
        held[key] = (window << _WINDOW) + (_ONE | (second << _SECOND) | bits)
        return _permit((True, left - 1, SLOTS - oldest(window, bits), 0))

    def peek(self, charge: Charge) -> Permit:
        """What ``take`` would say, counting nothing."""
        rate, key, second = charge.rate, charge.key, self._second()
        able, exhausted = self._tables[hash(key) & self._mask]
        state = able.get(key) or exhausted.get(key)
        if state is not None:
            window, bits = _read(state, rate, second)
        elif self._full(able, exhausted, second):
            return _no_room(exhausted, second)
        else:
            window, bits = 0, bits_of(rate)
        left = room(window, rate, bits)
        if left <= 0:
            return _refusal(window, rate, bits)
        return Permit(granted=True, remaining=left, reset=SLOTS - oldest(window, bits) if window else 0)

    def counts(self) -> LimiterCounts:
        """How it is doing."""
        return LimiterCounts(self._keys, self._forgotten, self._refused)

    def _second(self) -> int:
        """Whole seconds since the beginning. A clock that jumps back makes no request younger than it was."""
        now = self._clock()
        if now < self._last:
            self._offset += self._last - now
        self._last = now
        return int(now + self._offset)

    def _full(self, able: dict[bytes, int], exhausted: dict[bytes, int], second: int) -> bool:
        """There is no room, and nobody may be forgotten."""
        return self._keys >= self._max_keys and not able and _wait(exhausted, second) > 0

    def _make_room(self, able: dict[bytes, int], exhausted: dict[bytes, int], second: int) -> None:
        """Count one more: forget who is idle, at most one of each kind; if that is not enough, who is nearest to idle."""
        first = next(iter(exhausted), None)
        if first is not None and _since(exhausted[first], second) >= SLOTS:
            del exhausted[first]
            self._keys -= 1
        first = next(iter(able), None)
        if first is not None:
            idle = _since(able[first], second) >= SLOTS
            if idle or self._keys >= self._max_keys:
                del able[first]
                self._keys -= 1
                self._forgotten += not idle
        self._keys += 1


def _read(state: int, rate: Rate, second: int) -> tuple[int, int]:
    """Window and width of a state, as of now, and wide enough for a rate that may have been raised."""
    bits = state & _WIDTH
    window = state >> _WINDOW
    passed = second - ((state >> _SECOND) & _SECONDS)
    if passed:
        window = advanced(window, passed, bits)
    if rate.per_minute >= (1 << bits) - 1:
        wanted = bits_of(rate)
        return widened(window, bits, wanted), wanted
    return window, bits


def _since(state: int, second: int) -> int:
    """How many slots ago a caller was granted its last request."""
    return second - ((state >> _SECOND) & _SECONDS)


def _wait(exhausted: dict[bytes, int], second: int) -> int:
    """Seconds until the first of these is idle, 0 if it is; a whole window if there is nobody."""
    first = next(iter(exhausted.values()), None)
    return SLOTS if first is None else max(SLOTS - _since(first, second), 0)


def _refusal(window: int, rate: Rate, bits: int) -> Permit:
    reset = SLOTS - oldest(window, bits) if window else 0
    return _permit((False, 0, reset, waiting(window, rate, bits)))


def _no_room(exhausted: dict[bytes, int], second: int) -> Permit:
    """What a new caller is told: when the first of those that are counted will be idle."""
    wait = _wait(exhausted, second)
    return _permit((False, 0, wait, wait))
