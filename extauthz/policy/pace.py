"""Where a load lets others run: between two of what it works on.

A load runs in a thread beside Checks. Python looks between instructions of its own whether another thread wants the
interpreter; machine code (``make compiled``) does not, so a loop over ten thousand rules would keep every Check waiting for a
tenth of a second. This module is never compiled, and what comes out of it has passed such a look.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["paced"]

_Thing = TypeVar("_Thing")


def paced(things: Iterable[_Thing]) -> Iterator[_Thing]:
    """The same things, one by one."""
    for thing in things:  # noqa: UP028 - `yield from` would hand them on without a look
        yield thing
