"""No Check is let in while there is no room for its record, and none waits longer than it may."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from extauthz.serving import Call, PatientHandler

CALL = Call((("a", "b"),), 0.2)


class Log:
    """A log that is full as long as a test says so."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self._waiting: list[Callable[[], None]] = []

    def when_room(self, tell: Callable[[], None]) -> None:
        self._waiting.append(tell)

    def empty(self) -> None:
        """From another thread, as the one that writes."""
        self.full = False
        told, self._waiting = self._waiting, []
        thread = threading.Thread(target=lambda: [tell() for tell in told])
        thread.start()
        thread.join()


class Handled:
    """What came to the handler behind."""

    def __init__(self, *, later: bool = False) -> None:
        self.calls: list[Call] = []
        self._later = later

    def __call__(self, message: bytes, call: Call) -> bytes | Awaitable[bytes]:
        self.calls.append(call)
        answer = b"in time" if call.time_remaining is None or call.time_remaining > 0 else b"too late"
        return self._answer(answer) if self._later else answer

    async def _answer(self, answer: bytes) -> bytes:
        await asyncio.sleep(0)
        return answer


def patient(log: Log, handled: Handled, *, most: int = 8, deadline: float = 0.15) -> tuple[PatientHandler, list[None]]:
    """The handler under test, and what was counted."""
    counted: list[None] = []
    handler = PatientHandler(
        handled, log, lambda: counted.append(None), deadline=deadline, max_waiting=most, clock=time.monotonic
    )
    return handler, counted


def test_with_room_nothing_is_changed() -> None:
    """The answer is there at once, and nothing is counted."""
    handled = Handled()
    handler, counted = patient(Log(full=False), handled)
    assert handler(b"", CALL) == b"in time"
    assert handled.calls == [CALL]
    assert handled.calls[0] is CALL
    assert not counted


@pytest.mark.parametrize("later", [False, True])
async def test_a_full_log_holds_checks_until_there_is_room(later: bool) -> None:
    """All that wait are decided then, in the time that is left to them; the event loop is not held up."""
    log, handled = Log(full=True), Handled(later=later)
    handler, counted = patient(log, handled)
    waiting = [asyncio.ensure_future(handler(b"", CALL)) for _ in range(5)]  # type: ignore[arg-type]
    await asyncio.sleep(0.02)
    assert handled.calls == []
    await asyncio.to_thread(log.empty)
    assert await asyncio.gather(*waiting) == [b"in time"] * 5
    assert len(counted) == 5
    assert all(0 < (call.time_remaining or 0) <= 0.15 - 0.02 for call in handled.calls)


async def test_without_room_by_its_deadline_a_check_is_too_late() -> None:
    """Its own, or the caller's, whichever comes first: it is denied, and never later than that."""
    log, handled = Log(full=True), Handled()
    handler, _ = patient(log, handled, deadline=0.03)
    for call in (Call((), None), Call((), 5.0), Call((), 0.02)):
        began = time.monotonic()
        answer = handler(b"", call)
        assert not isinstance(answer, bytes)
        assert await answer == b"too late"
        assert 0.015 < time.monotonic() - began < 1
    assert handler(b"", Call((), 0.0)) == b"too late"


async def test_those_that_wait_are_bounded() -> None:
    """More of them are denied at once, and their places are free again afterwards."""
    log, handled = Log(full=True), Handled()
    handler, _ = patient(log, handled, most=2, deadline=0.05)
    for _ in range(2):
        first, second = handler(b"", CALL), handler(b"", CALL)
        assert handler(b"", CALL) == b"too late"
        assert not isinstance(first, bytes)
        assert not isinstance(second, bytes)
        assert [await first, await second] == [b"too late"] * 2


async def test_a_caller_that_goes_away_harms_nobody() -> None:
    """The others are let in as before."""
    log, handled = Log(full=True), Handled()
    handler, _ = patient(log, handled, most=2)
    gone, stays = (asyncio.ensure_future(handler(b"", CALL)) for _ in range(2))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    await asyncio.to_thread(log.empty)
    assert await stays == b"in time"
    assert len(handled.calls) == 1
