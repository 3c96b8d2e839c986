"""What is revoked, by what it names, from when and until when (I8, O33)."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model import Deny, Reason
from extauthz.tokens.records import Revocation, RevocationKind
from extauthz.tokens.revocation_list import Marks, RevocationList

NOW = 1_800_000_000.0
MARKS: Marks = ("t1", "alice", "shop", "f1", "k1")
KINDS: tuple[RevocationKind, ...] = ("token", "subject", "client", "family", "key")
END = NOW + 600


def a_list(*revocations: Revocation, staleness: float = 60.0) -> RevocationList:
    known = RevocationList(max_staleness=staleness)
    known.add(revocations)
    known.confirmed(NOW)
    return known


def word(found: Deny | None) -> str:
    return "stands" if found is None else found.reason.word


def ask(known: RevocationList, marks: Marks = MARKS, issued: float = NOW - 10, now: float = NOW) -> str:
    """As the cache asks: the second question only if there is a doubt. It must be the same without the first one."""
    found = known.refusal(marks, issued, now)
    assert found is None or known.doubts(marks, now)
    return word(found)


@pytest.mark.parametrize(("kind", "mark"), list(zip(KINDS, MARKS, strict=True)))
def test_each_mark_can_be_revoked(kind: RevocationKind, mark: str) -> None:
    """And nothing else is: not another token, and not another kind of thing with the same name."""
    assert ask(a_list(Revocation(kind, mark, NOW, END))) == "token-revoked"
    assert ask(a_list(Revocation(kind, mark + "x", NOW, END))) == "stands"
    for other in KINDS:
        if other != kind:
            assert ask(a_list(Revocation(other, mark, NOW, END))) == "stands"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_issued_afterwards_is_good_for_subjects_and_clients(kind: RevocationKind) -> None:
    """A token, a session and a key are never made again: whatever has such a mark is meant, whatever the clocks say."""
    known = a_list(Revocation(kind, MARKS[KINDS.index(kind)], NOW, END))
    later = "stands" if kind in {"subject", "client"} else "token-revoked"
    assert ask(known, issued=NOW) == "token-revoked"
    assert ask(known, issued=NOW + 0.001) == later
    assert ask(known, issued=float("-inf")) == "token-revoked", "a token that does not say when it was issued"


def test_a_mark_that_is_missing_is_not_revoked_by_a_name_that_is_missing() -> None:
    """Else a revocation of nothing would be one of everything."""
    known = a_list(*(Revocation(kind, "", NOW, END) for kind in KINDS))
    assert ask(known, ("", "alice", "", "", "")) == "stands"
    assert len(known) == 0


def test_the_wider_of_two_revocations_holds() -> None:
    """In whatever order they come: replicas read them at different times."""
    early, late = Revocation("subject", "alice", NOW - 100, END + 100), Revocation("subject", "alice", NOW, END)
    for order in ([early, late], [late, early]):
        known = a_list(*order)
        assert known.everything() == [Revocation("subject", "alice", NOW, END + 100)]
        known.forget(END + 70, most=10)
        assert ask(known) == "token-revoked"
        assert len(known) == 1


def test_nothing_is_said_before_the_list_was_read() -> None:
    """503, and never an open door; what is known to be revoked is refused as that."""
    known = RevocationList(max_staleness=60)
    assert ask(known) == "store-unavailable"
    known.add([Revocation("token", "t1", NOW, END)])
    assert ask(known) == "token-revoked"


def test_a_list_that_was_not_read_for_long_says_nothing() -> None:
    """It holds for the time that is configured, not longer, and again once it was read."""
    known = a_list(staleness=60)
    assert ask(known, now=NOW + 59.9) == "stands"
    assert ask(known, now=NOW + 60) == "store-unavailable"
    found = known.refusal(MARKS, NOW, NOW + 75)
    assert found is not None
    assert (found.retry_after, found.detail) == (
        1,
        "the revocations were read 75 s ago, which is longer than they are believed",
    )
    known.confirmed(NOW + 75)
    assert ask(known, now=NOW + 80) == "stands"


def test_a_clock_that_is_set_back_makes_no_list_young() -> None:
    """A little is no matter; an hour would make it seem to be read in the future, and hold for an hour."""
    known = a_list()
    assert ask(known, now=NOW - 1) == "stands"
    assert ask(known, now=NOW - 3600) == "store-unavailable"


def test_nothing_is_forgotten_before_its_end() -> None:
    """O33: and everything is, within a minute or so after it."""
    known = a_list(*(Revocation("token", f"t{n}", NOW, NOW + n) for n in range(600)))
    for passed in range(0, 800, 7):
        now = NOW + passed
        known.forget(now, most=1000)
        left = {entry.value for entry in known.everything()}
        assert {f"t{n}" for n in range(passed + 1, 600)} <= left
        assert all(int(value[1:]) > passed - 61 for value in left)
    assert len(known) == 0
    assert set(known.held.values()) == {0}
    known.confirmed(NOW + 800)
    assert not known.doubts(MARKS, NOW + 800)


def test_forgetting_is_done_in_parts() -> None:
    """So that a hundred thousand that end together cost no moment much."""
    known = a_list(*(Revocation("token", f"t{n}", NOW, NOW) for n in range(1000)))
    assert [known.forget(NOW + 120, most=300) for _ in range(5)] == [300, 300, 300, 100, 0]


def test_a_word_that_two_kinds_share_is_kept_for_the_other() -> None:
    """The client of a client credentials token is its subject, too."""
    marks: Marks = ("t1", "shop", "shop", "", "k1")
    known = a_list(Revocation("subject", "shop", NOW, NOW), Revocation("client", "shop", NOW, END))
    known.forget(NOW + 120, most=10)
    assert len(known) == 1
    known.confirmed(NOW + 120)
    assert ask(known, marks, now=NOW + 120) == "token-revoked"


def test_a_revocation_without_an_end_stays() -> None:
    """Whatever the clock says."""
    known = a_list(Revocation("key", "k1", NOW, float("inf")))
    known.forget(NOW + 1e9, most=10)
    assert ask(known) == "token-revoked"


names = st.sampled_from(["a", "b", "c"])
times = st.integers(-300, 300).map(lambda seconds: NOW + seconds)
revocations = st.builds(Revocation, st.sampled_from(KINDS), names, times, times)
steps = st.one_of(revocations, times)
questions = st.tuples(st.tuples(*[st.one_of(names, st.just(""))] * 5), times)


@settings(max_examples=200)
@given(st.lists(steps, max_size=30), st.lists(questions, min_size=1, max_size=10))
def test_it_is_what_a_list_would_be(history: list[Revocation | float], asked: list[tuple[Marks, float]]) -> None:
    """Against a model that keeps everything: what is not over is refused in the same cases, whatever was forgotten."""
    known, kept, clock = RevocationList(max_staleness=1e9), list[Revocation](), NOW - 300
    known.confirmed(NOW - 300)
    for step in history:
        if isinstance(step, Revocation):
            # What is revoked is not over: a store gives out nothing that is.
            live = replace(step, until=max(step.until, clock + 1))
            known.add([live])
            kept.append(live)
        else:
            clock = max(clock, step)
            known.forget(clock, most=1000)
    for marks, issued in asked:
        meant = [
            entry
            for entry in kept
            if marks[KINDS.index(entry.kind)] == entry.value
            and (entry.kind not in {"subject", "client"} or issued <= entry.before)
        ]
        found = ask(known, marks, issued, clock)
        if not meant:
            assert found == "stands"
        elif any(entry.until > clock for entry in meant):
            assert found == "token-revoked"


def test_a_hundred_thousand_are_held_in_bounded_memory() -> None:
    """Less than half a kilobyte each, and the look at a token does not grow with them."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    known = RevocationList(max_staleness=60)
    known.add(Revocation("token", f"{n:032x}", NOW, NOW + n % 3600) for n in range(100_000))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(known) == 100_000
    assert taken < 50_000_000
    known.confirmed(NOW)
    assert not known.doubts(MARKS, NOW)
    assert ask(known, (f"{77:032x}", "alice", "shop", "f1", "k1")) == "token-revoked"
    assert known.refused == 1
    assert known.held["token"] == 100_000
    assert Reason.TOKEN_REVOKED.http == 401
