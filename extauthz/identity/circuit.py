"""Whether a server that we depend on is asked at all: one that does not answer is left alone for a moment.

After a few failures in a row the circuit opens: nobody is sent to the server for a second, doubling to ten while it stays
as it is. Then one question may try; if it is answered the circuit closes, and if not it opens again. So a dead server
costs its own callers a refusal at once instead of a wait, and everybody else nothing.
"""

import math

__all__ = ["Circuit"]

FAILURES = 5
"""In a row. Fewer would let one caller with an odd token shut out the others; more are more waits for nothing."""
PAUSE_BOUNDS = (1.0, 10.0)


class Circuit:
    """What the last questions to one server came to. Belongs to one event loop; times are epoch seconds."""

    def __init__(self) -> None:
        """Begin closed: nothing is known yet."""
        self._failures = 0
        self._paused_at = self._pause = 0.0

    @property
    def closed(self) -> bool:
        """Whether the server is taken to be well."""
        return self._failures < FAILURES

    def admits(self, now: float, *, under_way: int) -> bool:
        """Whether one more question may be sent while others are under way."""
        return self.closed or (not under_way and self._pause_left(now) <= 0)

    def retry_after(self, now: float) -> int:
        """Whole seconds until asking again makes sense, at least 1."""
        return 1 if self.closed else max(math.ceil(self._pause_left(now)), 1)

    def succeed(self) -> None:
        """Note an answer."""
        self._failures = 0

    def fail(self, now: float) -> None:
        """Note that there was none."""
        if not self.closed and self._pause_left(now) > 0:
            # It was under way when the circuit opened, and tells nothing new.
            return
        self._failures += 1
        shortest, longest = PAUSE_BOUNDS
        self._paused_at = now
        self._pause = min(math.ldexp(shortest, min(max(self._failures - FAILURES, 0), 10)), longest)

    def _pause_left(self, now: float) -> float:
        """Seconds; a clock that was set back ends the pause instead of stretching it."""
        return self._paused_at + self._pause - now if now >= self._paused_at else 0.0
