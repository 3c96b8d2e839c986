"""Loading beside Checks: what a large load does to the interpreter that both share, and how it is kept small.

A load runs in a thread, and threads take turns; ten thousand rules are a million objects, and three things about them
would keep every Check waiting:

- A full garbage collection walks all of them at once, some hundred milliseconds, several times in a load. So none begins
  while one lasts (``unobtrusive``; the young generations are collected as ever), and what was loaded is then put where
  collections don't look (``settle``): it lives until the next load and is freed by counting references, as it has no cycles.
- A thread may keep the interpreter for five milliseconds before it must let another one run. Here it is a half.
- The last reference to an old set frees all of it in one go, in the event loop. ``let_go`` takes it apart first, in a thread.

The trade-off: cyclic garbage of requests that a full collection would have found at that very moment stays where collections
don't look. So small sets, which need none of this, are loaded without it.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

__all__ = ["let_go", "settle", "unobtrusive"]

_SWITCH_SECONDS = 0.0005
_NEVER = 1_000_000_000
_DEPTH = 5
"""From a set to what is small: its policies, theirs in a tuple, a policy, its rules in a tuple, a rule."""
_SHARED = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)
"""What is not a part of what refers to it."""

_lock = Lock()
_loads = 0
_before = (0.0, 0)


@contextmanager
def unobtrusive() -> Iterator[None]:
    """While it lasts, threads take turns more often and no full collection begins. Loads may overlap."""
    global _loads, _before  # noqa: PLW0603 - there is one interpreter
    with _lock:
        if _loads == 0:
            _before = (sys.getswitchinterval(), gc.get_threshold()[2])
            sys.setswitchinterval(min(_SWITCH_SECONDS, _before[0]))
            gc.set_threshold(*gc.get_threshold()[:2], _NEVER)
        _loads += 1
    try:
        yield
    finally:
        with _lock:
            _loads -= 1
            if _loads == 0:
                sys.setswitchinterval(_before[0])
                gc.set_threshold(*gc.get_threshold()[:2], _before[1])


def settle() -> None:
    """Put all that lives now where collections don't look; what is young and garbage already is collected first."""
    gc.collect(1)
    gc.freeze()


def let_go(held: list[object]) -> None:
    """Empty a list of large values, the last references to them, a small piece at a time. To be called in a thread.

    What is found below the values is held before they are freed, and freed one by one after them: so no single step frees
    much, and others run in between. What others hold as well stays theirs.
    """
    layer, pieces = list(held), list(held)
    held.clear()
    for _ in range(_DEPTH):
        layer = [child for part in layer for child in gc.get_referents(part) if not isinstance(child, _SHARED)]
        pieces += layer
    del layer
    pieces.reverse()
    while pieces:
        pieces.pop()
