"""When a store is asked, and how long a probe waits."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from extauthz.limits.breaker import Breaker


@dataclass
class Pauses:
    """Sleeps that take no time, and are noted."""

    taken: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    noted = Pauses()
    monkeypatch.setattr("extauthz.limits.breaker.asyncio.sleep", noted.sleep)
    return noted


def opened(clock: Callable[[], float] = lambda: 0.0) -> Breaker:
    breaker = Breaker(clock)
    breaker.probe_failed("down")
    return breaker


def test_three_failures_in_a_row_close_the_store_to_requests() -> None:
    breaker = Breaker(lambda: 7.0)
    for closed in (True, True, False):
        breaker.failed("no answer")
        assert breaker.closed is closed
    assert breaker.error == "no answer"


def test_failures_with_answers_between_them_do_not() -> None:
    breaker = Breaker(lambda: 0.0)
    for _ in range(10):
        breaker.failed("no answer")
        breaker.failed("no answer")
        breaker.succeeded()
    assert breaker.closed


def test_one_failed_probe_does() -> None:
    assert not opened().closed


def test_a_late_answer_to_a_request_does_not_open_the_store_again() -> None:
    breaker = opened()
    breaker.succeeded()
    assert not breaker.closed
    assert breaker.error == "down"


def test_a_probe_that_is_answered_opens_it_and_forgets_the_failures() -> None:
    breaker = opened()
    breaker.probe_succeeded()
    breaker.failed("no answer")
    breaker.failed("no answer")
    assert breaker.closed


def test_it_tells_since_when_it_is_as_it_is() -> None:
    now = [1.0]
    breaker = Breaker(lambda: now[0])
    now[0] = 5.0
    breaker.probe_failed("down")
    now[0] = 6.0
    breaker.probe_failed("down")
    assert breaker.since == 5.0
    now[0] = 9.0
    breaker.probe_succeeded()
    assert breaker.since == 9.0


async def test_pauses_between_probes_double_up_to_four_seconds(pauses: Pauses) -> None:
    """Each is scattered over its second half, so that replicas do not come together."""
    breaker = opened()
    for _ in range(8):
        await breaker.until_next_probe()
        breaker.probe_failed("down")
    for pause, longest in zip(pauses.taken, [0.25, 0.5, 1, 2, 4, 4, 4, 4], strict=True):
        assert longest / 2 <= pause <= longest


async def test_pauses_begin_anew_once_the_store_was_well(pauses: Pauses) -> None:
    breaker = opened()
    for _ in range(5):
        await breaker.until_next_probe()
    breaker.probe_succeeded()
    breaker.probe_failed("down again")
    await breaker.until_next_probe()
    assert pauses.taken[-1] <= 0.25


async def test_replicas_do_not_probe_in_step(pauses: Pauses) -> None:
    for _ in range(20):
        await opened().until_next_probe()
    assert len(set(pauses.taken)) > 1


async def test_a_failure_ends_the_wait_for_the_next_heartbeat() -> None:
    breaker = Breaker(lambda: 0.0)
    waiting = asyncio.create_task(breaker.until_next_probe())
    await asyncio.sleep(0)
    for _ in range(3):
        breaker.failed("no answer")
    async with asyncio.timeout(2):  # a heartbeat is at least 2.5 s away
        await waiting


async def test_people_are_told_when_it_is_asked_again(pauses: Pauses) -> None:
    """By the clock that it was given."""
    breaker = opened(lambda: 100.0)
    await breaker.until_next_probe()
    assert breaker.next_probe == 100.0 + pauses.taken[-1]
