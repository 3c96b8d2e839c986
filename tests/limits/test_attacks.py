"""Ways to get more than the rate, to lock others out, or to grow what is remembered: each is tried here, and fails."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.canonical import address_key, charge_key
from extauthz.limits import MemoryLimiter
from extauthz.limits.leased import LeaseBook
from extauthz.limits.shared import Counted
from extauthz.model import Charge, Rate

TEXTS = st.text(max_size=12)
ODD = st.sampled_from(["", ":", "1:a", "0:", "6:caller", "\ud800", "\0", "a" * 5000, "corporate", "9:corporate5:alice"])


def limiter(now: list[float], max_keys: int = 1000) -> MemoryLimiter:
    return MemoryLimiter(clock=lambda: now[0], max_keys=max_keys)


def charge(key: bytes, per_minute: int = 5, burst: int | None = None) -> Charge:
    return Charge(key, Rate(per_minute, burst), "policy", "rule")


@given(st.lists(TEXTS | ODD, max_size=5), st.lists(TEXTS | ODD, max_size=5))
def test_no_two_lists_of_texts_have_one_key(one: list[str], two: list[str]) -> None:
    """Whatever separators subjects, claims or rule names hold."""
    assert (charge_key(*one) == charge_key(*two)) is (one == two)


@pytest.mark.parametrize(("one", "two"), [("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), ("fe80::1", "fe80::2")])
def test_a_client_with_a_network_of_its_own_is_one_client(one: str, two: str) -> None:
    assert address_key(ip_address(one)) == address_key(ip_address(two))


@pytest.mark.parametrize(
    ("one", "two"), [("2001:db8:1:2::1", "2001:db8:1:3::1"), ("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "::a00:1")]
)
def test_a_neighbour_is_another_client(one: str, two: str) -> None:
    assert address_key(ip_address(one)) != address_key(ip_address(two))


def test_a_flood_of_callers_never_makes_room_for_one_who_is_exhausted() -> None:
    now = [0.0]
    counting = limiter(now)
    victim = charge(b"mallory".ljust(16))
    assert sum(counting.take(victim).granted for _ in range(9)) == 5
    for number in range(20_000):
        counting.take(charge(number.to_bytes(16)))
    assert not counting.take(victim).granted
    assert counting.counts().keys <= 1000


def test_exhausted_callers_who_fill_the_memory_keep_newcomers_out_for_a_minute_at_most() -> None:
    """They are told for how long."""
    now = [0.0]
    counting = limiter(now)
    late = charge(b"late".ljust(16), 1)
    for number in range(1000):
        counting.take(charge(number.to_bytes(16), 1))
    newcomer = counting.take(late)
    assert not newcomer.granted
    assert newcomer.retry_after <= 61
    now[0] = newcomer.retry_after
    assert counting.take(late).granted


@given(st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_a_clock_that_only_jumps_back_opens_nothing(jumps: list[float]) -> None:
    now = [0.0]
    counting = limiter(now)
    granted = 0
    for jump in jumps:
        now[0] -= abs(jump)
        granted += counting.take(charge(bytes(16))).granted
    assert granted <= 5


@given(st.lists(st.tuples(st.integers(1, 40), st.none() | st.integers(1, 10)), min_size=1, max_size=60))
def test_reloads_never_grant_more_than_the_highest_of_the_rates(rates: list[tuple[int, int | None]]) -> None:
    """Two replicas of a rollout ask with different rates, or an editor saves again and again."""
    counting = limiter([0.0])
    granted = sum(counting.take(charge(bytes(16), *rate)).granted for rate in rates for _ in range(3))
    assert granted <= max(per_minute for per_minute, _ in rates)


def test_leases_are_bounded_in_number() -> None:
    book = LeaseBook(100)
    for number in range(1000):
        what = charge(number.to_bytes(16), 1000)
        book.filled(what, book.order(what, 0.0), Counted(20, 980, 61, 0))
    left = sum(book.take(charge(number.to_bytes(16), 1000), 0.5) is not None for number in range(1000))
    assert left == 100


def test_a_lease_of_another_rate_is_not_used() -> None:
    """After a reload the counters are asked, and what was taken ahead is lost."""
    book = LeaseBook(100)
    what = charge(bytes(16), 1000)
    book.filled(what, book.order(what, 0.0), Counted(20, 980, 61, 0))
    assert book.take(charge(bytes(16), 100), 0.5) is None


def test_an_answer_that_comes_after_its_lease_grants_nothing() -> None:
    """The lease runs from the question: however slow the answer, the counters counted no later."""
    book = LeaseBook(100)
    what = charge(bytes(16), 1000)
    book.filled(what, book.order(what, 0.0), Counted(20, 980, 61, 0))
    assert book.take(what, 2.0) is None
