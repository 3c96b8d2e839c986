"""Faults that come back with every request are told a few times a minute, with how often they came in between."""

import threading
from collections.abc import Callable

__all__ = ["Repeats"]


class Repeats:
    """Lets so many reports through an interval and counts the others. Any thread may ask."""

    def __init__(self, clock: Callable[[], float], interval: float = 60.0, *, most: int = 1) -> None:
        """Begin open. ``clock`` is monotonic; it and ``interval`` are in seconds, ``most`` are the reports in one."""
        self._clock = clock
        self._interval = interval
        self._most = most
        self._left = 0
        self._next = float("-inf")
        self._suppressed = 0
        self._lock = threading.Lock()

    def due(self) -> int | None:
        """How many reports were held back since the last one, if one is due now; None to hold this one back too."""
        with self._lock:
            now = self._clock()
            if now < self._next:
                if self._left:
                    self._left -= 1
                    return 0
                self._suppressed += 1
                return None
            self._next = now + self._interval
            self._left = self._most - 1
            suppressed, self._suppressed = self._suppressed, 0
            return suppressed
