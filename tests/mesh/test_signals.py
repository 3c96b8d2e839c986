"""Nobody has to press Ctrl-C twice."""

import os
import signal
from collections.abc import Iterator

import pytest

from mesh.signals import SIGNALS, Stop


@pytest.fixture
def stop() -> Iterator[Stop]:
    """One that listens, until the end of the test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    stop.listen()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_starts_is_interrupted(stop: Stop, number: signal.Signals) -> None:
    """And the signal is remembered where its exception got lost, as one in a ``__del__`` does."""
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert stop.asked.is_set()


def test_what_runs_is_told(stop: Stop) -> None:
    """Without an exception, which would hit whatever happens to be done."""
    stop.calm()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked.is_set()


def test_an_ignored_signal_stays_ignored(stop: Stop) -> None:
    """As SIGHUP is under nohup."""
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.asked.is_set()
