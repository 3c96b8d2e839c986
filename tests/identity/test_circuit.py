"""When a server that does not answer is asked again."""

from extauthz.identity.circuit import FAILURES, Circuit
from extauthz.identity.recent_verdicts import RecentVerdicts
from extauthz.model import Deny, Reason


def opened(at: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(FAILURES):
        circuit.fail(at)
    return circuit


def test_a_few_failures_open_nothing() -> None:
    """T64: a caller with an odd token does not shut out the others; an answer in between begins the count anew."""
    circuit = Circuit()
    for _ in range(3):
        for _ in range(FAILURES - 1):
            circuit.fail(0.0)
        assert circuit.admits(0.0, under_way=31)
        circuit.succeed()
    assert circuit.closed


def test_the_pause_grows_and_is_bounded() -> None:
    """T64: 1 s, 2 s, 4 s, 8 s and then 10 s; in it nobody is sent, after it one question is, and no second one."""
    circuit, now, pauses = opened(), 0.0, []
    for _ in range(6):
        assert not circuit.closed
        assert not circuit.admits(now, under_way=0)
        pauses.append(circuit.retry_after(now))
        assert not circuit.admits(now + pauses[-1] - 0.1, under_way=0)
        now += pauses[-1]
        assert circuit.admits(now, under_way=0)
        assert not circuit.admits(now, under_way=1)
        circuit.fail(now)
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_late_failures_tell_nothing_new() -> None:
    """Questions that were under way when the circuit opened don't prolong the pause."""
    circuit = opened()
    for _ in range(100):
        circuit.fail(0.5)
    assert circuit.retry_after(0.5) == 1
    assert circuit.admits(1.0, under_way=0)


def test_one_answer_closes() -> None:
    """Recovery needs one good answer."""
    circuit = opened()
    circuit.succeed()
    assert circuit.closed
    assert circuit.admits(0.0, under_way=31)


def test_a_clock_that_is_set_back_ends_the_pause() -> None:
    """F9: an hour back is no hour of waiting; an hour forward is none either."""
    assert opened(3600.0).admits(0.0, under_way=0)
    assert opened(0.0).admits(3600.0, under_way=0)


def test_verdicts_are_handed_over_and_held() -> None:
    """Those who waited have a second; others as long as was said; a clock set back misses."""
    recent, verdict = RecentVerdicts(2), Deny(Reason.TOKEN_INACTIVE)
    recent.keep(b"a", verdict, 100.0, hold=0.0)
    recent.keep(b"b", verdict, 100.0, hold=5.0)
    assert recent.find(b"a", 100.0, waited=False) is None
    assert recent.find(b"a", 100.9, waited=True) is verdict
    assert recent.find(b"a", 101.0, waited=True) is None
    assert recent.find(b"b", 104.9, waited=False) is verdict
    assert recent.find(b"b", 104.9, waited=True) is verdict
    assert recent.find(b"b", 105.0, waited=True) is None
    assert recent.find(b"b", 99.0, waited=True) is None
    recent.keep(b"a", verdict, 101.0, hold=5.0)
    recent.keep(b"c", verdict, 101.0, hold=5.0)
    assert [recent.find(digest, 101.0, waited=False) is verdict for digest in (b"a", b"b", b"c")] == [True, False, True]
