"""How revocations come from the store, and what holds while they don't (I8, I9, O31, O32, O33)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from extauthz.errors import StoreError
from extauthz.stores.memory_tokens import MemoryTokenStore
from extauthz.tokens.records import Revocation, RevocationPage
from extauthz.tokens.revocation_feed import RevocationFeed
from extauthz.tokens.revocation_list import Marks, RevocationList
from extauthz.tokens.revoking_store import RevokingStore

NOW = 1_800_000_000.0
MARKS: Marks = ("t1", "alice", "shop", "f1", "k1")
T1 = Revocation("token", "t1", NOW, NOW + 600)


@dataclass
class Clock:
    """Seconds since the epoch, as a test has them."""

    time: float = NOW

    def __call__(self) -> float:
        return self.time


@dataclass
class Store:
    """A real one that a test can break."""

    inner: MemoryTokenStore = field(default_factory=MemoryTokenStore)
    fault: Exception | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    put: int = 0

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        self.asked.append((after, epoch))
        if self.fault is not None:
            raise self.fault
        return await self.inner.revocations(after, epoch)

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        self.put += 1
        if self.fault is not None:
            raise self.fault
        await self.inner.revoke(revocations)


@dataclass
class Replica:
    """A process's view of a store."""

    store: Store
    clock: Clock
    known: RevocationList = field(default_factory=lambda: RevocationList(max_staleness=60))

    def __post_init__(self) -> None:
        self.feed = RevocationFeed(self.store, self.known, now=self.clock, max_staleness=60)

    def word(self, marks: Marks = MARKS) -> str:
        found = self.known.refusal(marks, NOW - 10, self.clock.time)
        return "stands" if found is None else found.reason.word


@pytest.fixture
def replica() -> Replica:
    return Replica(Store(), Clock())


async def test_what_is_revoked_anywhere_is_in_force_after_the_next_look(replica: Replica) -> None:
    """And each is read once."""
    assert replica.word() == "store-unavailable"
    await replica.feed.look()
    assert replica.word() == "stands"
    await replica.store.inner.revoke([T1])
    assert replica.word() == "stands"
    await replica.feed.look()
    assert replica.word() == "token-revoked"
    assert [after for after, _ in replica.store.asked] == ["", "0"]
    assert replica.feed.state().sentence == "in force, read 0 s ago"


async def test_what_is_revoked_here_is_in_force_before_it_is_acknowledged(replica: Replica) -> None:
    """And not at all if the store does not keep it."""
    await replica.feed.look()
    store = RevokingStore(replica.store.inner, replica.known)
    await store.revoke([T1])
    assert replica.word() == "token-revoked"


async def test_while_the_store_is_down_the_list_holds_for_its_time(replica: Replica) -> None:
    """I9: then tokens of our own are refused, and good again once it is back, without a restart."""
    await replica.store.inner.revoke([T1])
    await replica.feed.look()
    replica.store.fault = StoreError("redis is down")
    other: Marks = ("t2", "bob", "shop", "f2", "k1")
    for passed, word in ((30, "stands"), (59, "stands"), (60, "store-unavailable"), (3600, "store-unavailable")):
        replica.clock.time = NOW + passed
        await replica.feed.look()
        assert (replica.word(), replica.word(other)) == ("token-revoked", word)
    state = replica.feed.state()
    assert not state.well
    assert state.sentence == (
        "read 3600 s ago, which is too long: own tokens are refused; redis is down, tried again within 0.3 s"
    )
    replica.store.fault = None
    await replica.feed.look()
    assert replica.word(other) == "stands"
    assert replica.feed.state().well


@pytest.mark.parametrize("fault", [StoreError("down"), TimeoutError(), ValueError("a token eyJ")])
async def test_no_fault_ends_the_reading(replica: Replica, fault: Exception) -> None:
    """It is told once, without the text of what nobody expected."""
    replica.store.fault = fault
    with capture_logs() as logs:
        for _ in range(3):
            await replica.feed.look()
    assert sum(line["event"] == "revocations.unavailable" for line in logs) == 1
    assert "eyJ" not in str(logs)
    assert replica.feed.state().sentence.startswith("not read yet: own tokens are refused: ")
    assert replica.word() == "store-unavailable"


async def test_a_slow_store_makes_the_list_as_old_as_the_question(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was revoked while it answered may be missing."""
    inner = replica.store.inner.revocations

    async def slow(after: str = "", epoch: str = "") -> RevocationPage:
        page = await inner(after, epoch)
        replica.clock.time += 50
        return page

    monkeypatch.setattr(replica.store.inner, "revocations", slow)
    await replica.feed.look()
    replica.clock.time += 11
    assert replica.word() == "store-unavailable"


async def test_a_store_that_lost_its_records_is_an_alarm_and_gets_them_back(replica: Replica) -> None:
    """O33: emptied or replaced, it has all again that any replica still knows, and everybody is told."""
    other = Replica(replica.store, replica.clock)
    known = [T1, *(Revocation("family", f"f{n}", NOW, NOW + 600) for n in range(2500))]
    await replica.store.inner.revoke(known)
    await replica.feed.look()
    replica.store.inner = MemoryTokenStore()
    await replica.store.inner.revoke([Revocation("key", "k9", NOW, NOW + 600)])
    with capture_logs() as logs:
        await replica.feed.look()
    assert any(line["event"] == "revocations.store_lost_records" and line["log_level"] == "error" for line in logs)
    state = replica.feed.state()
    assert (state.losses, state.lost, state.well) == (1, True, False)
    assert "the store had lost its records" in state.sentence
    assert replica.word() == "token-revoked"
    await other.feed.look()
    assert len(other.known) == len(known) + 1
    assert other.feed.state().losses == 0
    replica.clock.time += 3601
    await replica.feed.look()
    assert replica.feed.state().well


async def test_what_could_not_be_put_back_is_put_back_later(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list holds meanwhile."""
    await replica.store.inner.revoke([T1])
    await replica.feed.look()
    replica.store.inner = MemoryTokenStore()

    async def refuse(_: Sequence[Revocation]) -> None:
        raise StoreError("read only")

    monkeypatch.setattr(replica.store.inner, "revoke", refuse)
    await replica.feed.look()
    assert "could not be put back: read only" in replica.feed.state().sentence
    assert replica.word() == "token-revoked"
    monkeypatch.undo()
    await replica.feed.look()
    assert replica.feed.state().error == ""
    assert len((await replica.store.inner.revocations()).revocations) == 1


async def test_it_reads_four_times_a_second_and_not_in_step() -> None:
    """A fifth earlier or later by chance."""
    pauses: list[float] = []
    chances = iter([0.0, 0.5, 1.0])

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    feed = RevocationFeed(
        MemoryTokenStore(),
        RevocationList(max_staleness=60),
        now=Clock(),
        sleep=sleep,
        chance=lambda: next(chances),
        max_staleness=60,
    )
    with pytest.raises(asyncio.CancelledError):
        await feed.run()
    assert pauses == pytest.approx([0.2, 0.25, 0.3])


async def test_a_storm_of_revocations_stalls_nobody(replica: Replica) -> None:
    """F17: a hundred thousand at once are taken in parts, between which others have their turn."""
    await replica.store.inner.revoke([Revocation("token", f"x{n}", NOW, NOW + n % 600) for n in range(100_000)])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    await replica.feed.look()
    waiting.cancel()
    assert len(replica.known) == 100_000
    assert turns >= 100
