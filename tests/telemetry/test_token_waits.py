"""What token requests wait for is counted, and told to the request that waits."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from extauthz.errors import SigningError, StoreError
from extauthz.stores import MemoryTokenStore
from extauthz.telemetry import MergedMetrics, Metrics, TimedSigner, TimedStore, TokenWaits
from extauthz.telemetry.open_request import OPEN, OpenRequest
from extauthz.tokens.ports import TokenStore
from tests.tokens.parts import Clock, OneKey, Signed


class Slow(MemoryTokenStore):
    """Takes a second for each claim, by a clock that it turns; down when it is told so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.down = False

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        self._clock.time += 1.0
        if self.down:
            raise StoreError("the disk is full")
        return await super().use_once(name, until, now=now)

    async def look(self) -> str:
        if self.down:
            raise StoreError("the disk is full")
        return ""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), version="1")


@pytest.fixture
def waits(metrics: Metrics, clock: Clock) -> TokenWaits:
    return metrics.token_waits(clock)


async def test_calls_of_the_store_are_counted_by_what_was_asked(
    metrics: Metrics, waits: TokenWaits, clock: Clock
) -> None:
    """With the time that they took, and whether there was an answer."""
    kept = Slow(clock)
    store = TimedStore(waits, kept)
    assert await store.use_once("a", clock() + 60, now=clock())
    kept.down = True
    with pytest.raises(StoreError, match="the disk is full"):
        await store.use_once("b", clock() + 60, now=clock())
    text = metrics.render().decode()
    for line in (
        'extauthz_token_store_duration_seconds_count{operation="use_once"} 2.0',
        'extauthz_token_store_duration_seconds_sum{operation="use_once"} 2.0',
        'extauthz_token_store_failed_total{operation="use_once"} 1.0',
        'extauthz_token_store_failed_total{operation="rotate"} 0.0',
    ):
        assert line in text


async def test_a_look_says_whether_there_is_something_to_mend(
    metrics: Metrics, waits: TokenWaits, clock: Clock
) -> None:
    """Of a store that works, and of one that does not."""
    kept = Slow(clock)
    await TimedStore(waits, kept).look()
    assert "extauthz_token_store_usable 1.0\n" in metrics.render().decode()
    await TimedStore(waits, MemoryTokenStore()).look()
    assert "extauthz_token_store_warned 1.0\n" in metrics.render().decode()
    kept.down = True
    with pytest.raises(StoreError):
        await TimedStore(waits, kept).look()
    text = metrics.render().decode()
    assert "extauthz_token_store_usable 0.0\n" in text
    assert "extauthz_token_store_warned 0.0\n" in text


def test_every_call_of_a_store_is_one_that_is_counted(waits: TokenWaits, clock: Clock) -> None:
    """A new one can't be forgotten here."""
    asked = {name for name, _ in inspect.getmembers(TokenStore, inspect.isfunction) if not name.startswith("_")}
    assert asked == set(waits._calls)
    store = TimedStore(waits, Slow(clock))
    assert all(name in vars(type(store)) for name in asked)


async def test_signatures_are_timed_and_those_that_fail_counted(
    metrics: Metrics, waits: TokenWaits, clock: Clock
) -> None:
    """What else a signer tells is that of the one behind it."""

    class Transit(OneKey):
        async def sign(self, claims: Mapping[str, Any], *, typ: str = "at+jwt") -> Signed:
            clock.time += 0.25
            return await super().sign(claims, typ=typ)

    key = Transit(clock)
    signer = TimedSigner(waits, key)
    await signer.sign({"sub": "a"})
    key.down = True
    with pytest.raises(SigningError):
        await signer.sign({"sub": "a"})
    text = metrics.render().decode()
    assert "extauthz_signature_duration_seconds_count 1.0" in text
    assert "extauthz_signature_duration_seconds_sum 0.25" in text
    assert "extauthz_signatures_failed_total 1.0" in text
    assert (signer.etag, signer.max_age, signer.max_token_lifetime) == (key.etag, key.max_age, key.max_token_lifetime)
    assert (signer.jwks(), signer.algorithms()) == (key.jwks(), key.algorithms())


async def test_a_request_knows_what_it_waited_for(waits: TokenWaits, clock: Clock) -> None:
    """And nothing that answered at once; however much it asks, what is kept of it is bounded."""
    request = OpenRequest(span=None, began=clock() - 2)  # type: ignore[arg-type]
    store = TimedStore(waits, Slow(clock))
    token = OPEN.set(request)
    try:
        await store.client("a")
        await store.use_once("a", clock() + 60, now=clock())
        assert [(one.what, one.began, one.seconds) for one in request.waits] == [("store", 2.0, 1.0)]
        for number in range(100):
            await store.use_once(f"b{number}", clock() + 60, now=clock())
        assert len(request.waits) == 32
    finally:
        OPEN.reset(token)


async def test_workers_add_up(metrics: Metrics, waits: TokenWaits, clock: Clock) -> None:
    """Times and calls; of the store that each has looked at, the worst is told."""
    store = TimedStore(waits, Slow(clock))
    await store.use_once("a", clock() + 60, now=clock())
    await store.look()
    other = Metrics(CollectorRegistry(), version="1")
    other.token_waits(clock)
    merged = MergedMetrics().merged([metrics.render(), metrics.render(), other.render()])[0].decode()
    assert 'extauthz_token_store_duration_seconds_sum{operation="use_once"} 2.0' in merged
    assert 'extauthz_token_store_duration_seconds_count{operation="use_once"} 2.0' in merged
    assert "extauthz_token_store_usable 0.0\n" in merged
