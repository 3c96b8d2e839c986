"""Being asked to end: Ctrl-C, SIGTERM, or a terminal that is closed.

Model: while things start, a signal interrupts whatever is being waited for, as Ctrl-C does, so that everything that was
started is stopped in order. Once they run, it only sets `asked`. It is remembered in both cases: Python drops an
exception that is raised while it clears away an object, and a Ctrl-C that hits such a moment must not be lost.

Trade-off: a SIGHUP that is ignored already stays so, for `nohup`; the others are taken even where a shell had them
ignored, since nothing else ends the mesh.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether somebody asked for the end. To be made in the main thread."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._interrupting = True

    def listen(self) -> None:
        """Takes the signals; until `calm` each raises KeyboardInterrupt in the main thread."""
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._told)

    def calm(self) -> None:
        """From now on a signal only sets `asked`."""
        self._interrupting = False

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        self.asked.set()
        if self._interrupting:
            raise KeyboardInterrupt
