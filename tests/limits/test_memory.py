"""The memory limiter: never more than the rate in any minute, never refused for longer than a slot, and never without bound."""

import math
import time
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extauthz.limits import LimiterCounts, MemoryLimiter
from extauthz.model import Charge, Permit, Rate


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def charge(key: str = "alice", per_minute: int = 3, burst: int | None = None) -> Charge:
    return Charge(key.encode().ljust(16), Rate(per_minute, burst), "policy", "rule")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> MemoryLimiter:
    return MemoryLimiter(clock=clock)


def granted(limiter: MemoryLimiter, asked: Charge, times: int) -> int:
    return sum(limiter.take(asked).granted for _ in range(times))


def test_the_rate_is_granted_and_no_more(limiter: MemoryLimiter) -> None:
    """The last one passes, the next does not."""
    assert granted(limiter, charge(), 10) == 3


def test_what_was_used_is_back_within_61_seconds(limiter: MemoryLimiter, clock: Clock) -> None:
    """And not before 60."""
    granted(limiter, charge(), 3)
    clock.now += 60
    assert not limiter.take(charge()).granted
    clock.now += 1
    assert granted(limiter, charge(), 10) == 3


def test_a_window_slides(limiter: MemoryLimiter, clock: Clock) -> None:
    """No boundary lets twice the rate through."""
    for _ in range(3):
        assert limiter.take(charge()).granted
        clock.now += 20
    # 60 seconds after the first: only that one is about to come back.
    assert not limiter.take(charge()).granted
    clock.now += 1
    assert granted(limiter, charge(), 5) == 1


def test_a_burst_is_what_a_second_may_hold(limiter: MemoryLimiter, clock: Clock) -> None:
    """Wherever the second begins."""
    asked = charge(per_minute=100, burst=5)
    clock.now += 0.9
    assert granted(limiter, asked, 3) == 3
    clock.now += 0.2
    assert granted(limiter, asked, 9) == 2
    clock.now += 1
    assert granted(limiter, asked, 9) == 3


def test_what_is_denied_is_not_counted(limiter: MemoryLimiter, clock: Clock) -> None:
    """Who keeps on asking is not locked out for it."""
    granted(limiter, charge(), 3)
    for _ in range(100):
        clock.now += 0.5
        assert not limiter.take(charge()).granted
    clock.now += 11
    assert limiter.take(charge()).granted


def test_callers_are_counted_apart(limiter: MemoryLimiter) -> None:
    """One is exhausted, the other has all of it."""
    granted(limiter, charge("alice"), 9)
    assert granted(limiter, charge("bob"), 9) == 3


def test_a_permit_tells_what_is_left(limiter: MemoryLimiter, clock: Clock) -> None:
    """What remains, when some is back, and how long to wait."""
    assert limiter.take(charge()) == Permit(granted=True, remaining=2, reset=61)
    clock.now += 10
    assert limiter.take(charge()) == Permit(granted=True, remaining=1, reset=51)
    limiter.take(charge())
    assert limiter.take(charge()) == Permit(granted=False, remaining=0, reset=51, retry_after=51)


def test_a_refused_burst_is_over_in_a_moment(limiter: MemoryLimiter, clock: Clock) -> None:
    """Two seconds if this slot is full, one if the slot before helped."""
    asked = charge(per_minute=100, burst=2)
    granted(limiter, asked, 1)
    clock.now += 1
    granted(limiter, asked, 1)
    assert limiter.take(asked).retry_after == 1
    clock.now += 5
    granted(limiter, asked, 2)
    assert limiter.take(asked).retry_after == 2


def test_peeking_counts_nothing(limiter: MemoryLimiter) -> None:
    """It says what would be said."""
    for _ in range(9):
        assert limiter.peek(charge()) == Permit(granted=True, remaining=3, reset=0)
    granted(limiter, charge(), 3)
    assert limiter.peek(charge()) == limiter.take(charge())


@pytest.mark.parametrize(("before", "after"), [(3, 300), (300, 3), (5, 70_000), (254, 255), (255, 256)])
def test_a_changed_rate_keeps_the_count(limiter: MemoryLimiter, clock: Clock, before: int, after: int) -> None:
    """Whatever the two are."""
    used = min(before, 4)
    assert granted(limiter, charge(per_minute=before), used) == used
    assert limiter.peek(charge(per_minute=after)).remaining == max(after - used, 0)
    assert granted(limiter, charge(per_minute=after), min(after + 9, 500)) == min(max(after - used, 0), 500)


def test_a_lowered_rate_waits_until_enough_is_back(limiter: MemoryLimiter, clock: Clock) -> None:
    """And says for how long."""
    for _ in range(10):
        limiter.take(charge(per_minute=10))
        clock.now += 1
    refused = limiter.take(charge(per_minute=3))
    assert not refused.granted
    clock.now += refused.retry_after - 1
    assert not limiter.take(charge(per_minute=3)).granted
    clock.now += 1
    assert limiter.take(charge(per_minute=3)).granted


@pytest.mark.parametrize("jump", [-3600.0, -61.0, -0.5])
def test_a_clock_that_goes_back_opens_nothing_and_locks_nobody_out(
    limiter: MemoryLimiter, clock: Clock, jump: float
) -> None:
    """Time goes on from where it was."""
    granted(limiter, charge(), 3)
    clock.now += jump
    assert not limiter.take(charge()).granted
    clock.now += 61
    assert granted(limiter, charge(), 9) == 3


def test_a_clock_that_goes_forward_and_back_locks_nobody_out(limiter: MemoryLimiter, clock: Clock) -> None:
    """What was used in between is back in a minute, not in an hour."""
    clock.now += 3600
    assert granted(limiter, charge(), 9) == 3
    clock.now -= 3600
    assert not limiter.take(charge()).granted
    clock.now += 61
    assert granted(limiter, charge(), 9) == 3


def test_idle_callers_make_room(clock: Clock) -> None:
    """Nothing is lost with them."""
    limiter = MemoryLimiter(clock=clock, max_keys=10)
    for number in range(10):
        limiter.take(charge(str(number)))
    clock.now += 61
    for number in range(10, 20):
        assert limiter.take(charge(str(number))).granted
    assert limiter.counts() == LimiterCounts(keys=10, forgotten=0, refused=0)


@pytest.mark.parametrize("per_minute", [3, 1])
def test_idle_callers_go_even_if_there_is_room(clock: Clock, per_minute: int) -> None:
    """What is kept is who was active, not everybody who ever came; whether they have something left or not."""
    limiter = MemoryLimiter(clock=clock, max_keys=1000)
    for number in range(1500):
        limiter.take(charge(str(number), per_minute))
        clock.now += 1
    assert limiter.counts() == LimiterCounts(keys=61, forgotten=0, refused=0)


def test_the_caller_nearest_to_idle_makes_room(clock: Clock) -> None:
    """The one whose last request is longest ago, and it is counted that this was so."""
    limiter = MemoryLimiter(clock=clock, max_keys=3)
    for name in ("a", "b", "c", "a"):
        limiter.take(charge(name))
        clock.now += 1
    limiter.take(charge("d"))
    assert limiter.peek(charge("b")).remaining == 3
    assert [limiter.peek(charge(name)).remaining for name in ("a", "c", "d")] == [1, 2, 2]
    assert limiter.counts().forgotten == 1


@pytest.mark.parametrize("max_keys", [20, 5000])
def test_an_exhausted_caller_is_never_forgotten_before_its_time(clock: Clock, max_keys: int) -> None:
    """However many others an attacker brings, in one table or several."""
    limiter = MemoryLimiter(clock=clock, max_keys=max_keys)
    granted(limiter, charge("exhausted"), 3)
    for number in range(20_000):
        limiter.take(charge(f"flood {number}"))
    assert not limiter.take(charge("exhausted")).granted
    assert limiter.counts().keys == max_keys


def test_a_caller_that_a_burst_exhausted_is_not_forgotten_either(clock: Clock) -> None:
    """Else a flood would give it a second burst."""
    limiter = MemoryLimiter(clock=clock, max_keys=5)
    asked = charge("burst", per_minute=100, burst=2)
    granted(limiter, asked, 2)
    for number in range(50):
        limiter.take(charge(str(number)))
    assert not limiter.take(asked).granted


def test_an_exhausted_caller_whose_rate_is_raised_is_one_of_many_again(clock: Clock) -> None:
    """It has something left, so it may be forgotten."""
    limiter = MemoryLimiter(clock=clock, max_keys=1)
    granted(limiter, charge("raised", per_minute=3), 3)
    limiter.take(charge("raised", per_minute=30))
    assert limiter.take(charge("new")).granted


def test_a_caller_whose_rate_is_lowered_below_what_it_used_is_exhausted(clock: Clock) -> None:
    """It is not forgotten before its time."""
    limiter = MemoryLimiter(clock=clock, max_keys=1)
    granted(limiter, charge("lowered", per_minute=30), 3)
    assert not limiter.take(charge("lowered", per_minute=3)).granted
    assert not limiter.take(charge("new")).granted
    assert not limiter.take(charge("lowered", per_minute=3)).granted


def test_if_all_are_exhausted_new_callers_are_denied(clock: Clock) -> None:
    """They are told when there will be room, counted, and those who were there first keep what they had."""
    limiter = MemoryLimiter(clock=clock, max_keys=5)
    for name in "abcde":
        granted(limiter, charge(name), 3)
        clock.now += 1
    refused = limiter.take(charge("new"))
    assert refused == limiter.peek(charge("new")) == Permit(granted=False, remaining=0, reset=56, retry_after=56)
    assert limiter.counts() == LimiterCounts(keys=5, forgotten=0, refused=1)
    clock.now += 55
    assert not limiter.take(charge("new")).granted
    clock.now += 1
    assert limiter.take(charge("new")).granted
    assert limiter.counts().keys == 5


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 8)), max_size=200), st.integers(2, 4))
def test_what_a_lack_of_room_gives_away_is_bounded(asked: list[tuple[str, int]], per_minute: int) -> None:
    """For each caller that is forgotten one request less than its rate, at most."""
    clock = Clock(0.0)
    limiter = MemoryLimiter(clock=clock, max_keys=3)
    log: list[tuple[str, float]] = []
    for name, eighths in asked:
        clock.now += eighths / 8
        before = limiter.counts().forgotten
        if limiter.take(charge(name, per_minute)).granted:
            log.append((name, clock.now))
        assert limiter.counts().forgotten - before <= 1
        assert limiter.counts().keys <= 3
        recent = sum(clock.now - at < 60 for other, at in log if other == name)
        assert recent <= per_minute + limiter.counts().forgotten * (per_minute - 1)


def test_a_decision_costs_the_same_whatever_was_counted() -> None:
    """One hot caller slows down nobody, itself included: CPU per decision, ten of them and a hundred thousand."""

    def cost(limiter: MemoryLimiter, asked: Charge) -> float:
        best = math.inf
        for _ in range(5):
            begin = time.process_time()
            for _ in range(2000):
                limiter.take(asked)
            best = min(best, time.process_time() - begin)
        return best

    hot = charge("hot", per_minute=1_000_000)
    limiter = MemoryLimiter(clock=time.monotonic)
    cold = cost(limiter, charge("cold", per_minute=1_000_000))
    granted(limiter, hot, 100_000)
    assert cost(limiter, hot) < 5 * cold


def eighths(most: int) -> st.SearchStrategy[float]:
    """Seconds that floats can add without rounding."""
    return st.integers(0, most * 8).map(lambda number: number / 8)


class Model(RuleBasedStateMachine):
    """Random sequences against a log of timestamps, by a clock that sometimes jumps back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.clock = Clock(0.0)
        self.limiter = MemoryLimiter(clock=self.clock)
        self.log: dict[str, list[float]] = defaultdict(list)
        self.jumped = False
        self.jump_seen = -math.inf

    @rule(seconds=st.one_of(eighths(2), eighths(70), st.sampled_from([0.0, 1.0, 59.0, 60.0, 61.0])))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.clock.now += seconds

    @rule(seconds=st.one_of(eighths(2), eighths(4000)))
    def jump_back(self, seconds: float) -> None:
        self.clock.now -= seconds
        self.jumped = True

    @rule(
        key=st.sampled_from("ab"),
        per_minute=st.sampled_from([1, 2, 5, 300]),
        burst=st.sampled_from([None, 1, 3]),
        times=st.integers(1, 8),
    )
    def take(self, key: str, per_minute: int, burst: int | None, times: int) -> None:
        rate = Rate(per_minute, None if burst is None else min(burst, per_minute))
        now, log = self.now, self.log[key]
        if self.jumped:
            self.jumped, self.jump_seen = False, now
        for _ in range(times):
            peeked = self.limiter.peek(Charge(key.encode().ljust(16), rate, "p", "r"))
            said = self.limiter.take(Charge(key.encode().ljust(16), rate, "p", "r"))
            assert said.granted == peeked.granted
            assert said.remaining == max(peeked.remaining - 1, 0)
            recent = sum(now - at < 60 for at in log)
            lately = sum(now - at < 1 for at in log)
            if said.granted:
                assert recent < rate.per_minute, "more than the rate in 60 seconds"
                assert rate.burst is None or lately < rate.burst, "more than the burst in a second"
                log.append(now)
            else:
                assert 1 <= said.retry_after <= 61
                assert said.remaining == 0
                # Time that a clock hid by jumping back is not known to have passed.
                if now - self.jump_seen >= 61:
                    slot_later = sum(now - at < 61 for at in log)
                    burst_later = sum(now - at < 2 for at in log)
                    assert slot_later >= rate.per_minute or (rate.burst is not None and burst_later >= rate.burst), (
                        "refused by more than a slot"
                    )

    @invariant()
    def bounded(self) -> None:
        assert self.limiter.counts().keys <= 2


TestModel = Model.TestCase


@given(st.lists(eighths(5), min_size=1, max_size=60), st.integers(1, 4), st.sampled_from([None, 1, 2]))
def test_who_waits_as_told_is_granted(waits: list[float], per_minute: int, burst: int | None) -> None:
    """Retry-After is no less than the real wait, and at most a slot more."""
    clock = Clock(0.0)
    limiter = MemoryLimiter(clock=clock)
    asked = charge(per_minute=per_minute, burst=burst)
    for wait in waits:
        clock.now += wait
        said = limiter.take(asked)
        if not said.granted:
            clock.now += said.retry_after - 1.125
            assert said.retry_after == 1 or not limiter.peek(asked).granted
            clock.now += 1.125
            assert limiter.take(asked).granted


def test_a_jump_does_not_last(clock: Clock, limiter: MemoryLimiter) -> None:
    """Each time the clock goes back only what it hides is lost."""
    for _ in range(5):
        granted(limiter, charge(), 3)
        clock.now -= 1000
        limiter.peek(charge())
        clock.now += 61
        assert granted(limiter, charge(), 9) == 3
