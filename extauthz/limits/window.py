"""The last minute of one caller as one integer: 61 counters, one for each second, in fields of equal width.

The lowest field counts the second that goes on, the next the one before, and so on. To let time pass is a shift, and to
forget what is too old is a mask; what is used in all is the integer modulo ``2**bits - 1``, since each ``2**bits`` is 1
there (casting out nines, in another base), which holds as long as the sum is smaller than that. So a decision takes a
handful of operations on one short integer, however much was counted, and a caller costs about a hundred bytes.

Sixty seconds touch 61 slots. A request of which only the second is known is taken to have come at the end of it: at most
the rate is granted in any 60 seconds, and what was used is back at most one second late. In the same way "within one
second" is this slot and the one before.
"""

from typing import Final

from extauthz.model import Rate

__all__ = [
    "FIELDS",
    "MAX_BITS",
    "SLOTS",
    "advanced",
    "bits_of",
    "oldest",
    "room",
    "spent",
    "used",
    "waiting",
    "widened",
]

SLOTS: Final = 61
MAX_BITS: Final = 24
"""Rates up to sixteen million a minute."""

_MASKS: Final = [(1 << (SLOTS * bits)) - 1 for bits in range(MAX_BITS + 1)]
FIELDS: Final = [(1 << bits) - 1 for bits in range(MAX_BITS + 1)]
"""By width: the field with all bits set, which is what sums are told modulo."""


def bits_of(rate: Rate) -> int:
    """The width of fields in which the sum of a rate can be told.

    Raises:
        ValueError: The rate is too high to be counted.
    """
    bits = (rate.per_minute + 1).bit_length()
    if bits > MAX_BITS:
        message = f"a rate of {rate.per_minute} a minute can't be counted"
        raise ValueError(message)
    return bits


def advanced(window: int, seconds: int, bits: int) -> int:
    """The window some seconds later."""
    return 0 if seconds >= SLOTS else (window << (seconds * bits)) & _MASKS[bits]


def used(window: int, bits: int) -> int:
    """How many requests the window counts."""
    return window % FIELDS[bits]


def spent(window: int, bits: int) -> int:
    """How many requests it counts in this slot and the one before."""
    field = FIELDS[bits]
    return (window & field) + ((window >> bits) & field)


def room(window: int, rate: Rate, bits: int) -> int:
    """How many more requests would be within the rate now; below zero where the rate was lowered."""
    left = rate.per_minute - window % FIELDS[bits]
    return left if rate.burst is None else min(left, rate.burst - spent(window, bits))


def oldest(window: int, bits: int) -> int:
    """How many slots ago the oldest request was counted; 0 if there is none."""
    return (window.bit_length() - 1) // bits if window else 0


def waiting(window: int, rate: Rate, bits: int) -> int:
    """Seconds until one more request would be within the rate, if nothing is counted meanwhile; 0 if it is now."""
    wait = 0
    field = FIELDS[bits]
    if rate.burst is not None and spent(window, bits) >= rate.burst:
        wait = 1 if window & field < rate.burst else 2
    over = used(window, bits) - rate.per_minute
    left = window
    while over >= 0 and left:
        # As a rule what goes first is enough; more must go where the rate was lowered.
        age = oldest(left, bits)
        wait = max(wait, SLOTS - age)
        over -= left >> (age * bits)
        left &= (1 << (age * bits)) - 1
    return wait


def widened(window: int, bits: int, wider: int) -> int:
    """The same counts in wider fields."""
    field, made = FIELDS[bits], 0
    for slot in range(SLOTS):
        made |= ((window >> (slot * bits)) & field) << (slot * wider)
    return made
