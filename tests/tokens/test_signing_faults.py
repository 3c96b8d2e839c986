"""The running signing keys when something fails: verifiers go on, nothing is signed that should not be, and the loop lives."""

import asyncio
from dataclasses import replace

import pytest

from extauthz.errors import SigningError
from extauthz.tokens.signing import SigningKeys
from tests.tokens.signing import (
    DELAY,
    EVERY,
    NOW,
    Clock,
    MemoryBackend,
    Once,
    good,
    kids,
    signing_keys,
)


async def test_while_the_backend_is_down_tokens_are_verified_and_none_is_signed(
    backend: MemoryBackend, keys: SigningKeys, clock: Clock
) -> None:
    """The keys stay published; signing fails at once without asking again and again; it goes on without a restart (K11)."""
    await keys.tend()
    signed = await keys.sign({})
    backend.fault = "sealed"
    for _ in range(5):
        with pytest.raises(SigningError, match="sealed"):
            await keys.sign({})
    assert backend.signatures == 2
    await keys.tend()
    assert good(keys, signed)
    state = keys.state()
    assert (state.usable, state.error) == (False, "sealed")
    assert state.failures >= 2
    backend.fault = ""
    clock.now += 1
    assert (await keys.sign({})).token
    await keys.tend()
    assert (keys.state().usable, keys.state().error) == (True, "")


async def test_one_at_a_time_tries_a_backend_that_was_down(
    backend: MemoryBackend, keys: SigningKeys, clock: Clock
) -> None:
    """A second after a failure: the others are refused until it has an answer."""
    await keys.tend()
    backend.sign_fault = "sealed"
    with pytest.raises(SigningError):
        await keys.sign({})
    clock.now += 1
    before = backend.signatures
    outcomes = await asyncio.gather(*(keys.sign({}) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(outcome, SigningError) for outcome in outcomes)
    assert backend.signatures == before + 1


async def test_a_backend_that_hangs_is_not_waited_for(
    backend: MemoryBackend, keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for a bounded time, the others not at all."""
    monkeypatch.setattr("extauthz.tokens.signatures._LONGEST", 0.05)
    await keys.tend()
    backend.hang = True
    with pytest.raises(SigningError, match="has not signed within"):
        await keys.sign({})
    with pytest.raises(SigningError, match="has not signed within"):
        await keys.sign({})
    assert backend.signatures == 1


async def test_keys_that_were_read_long_ago_sign_nothing(
    backend: MemoryBackend, keys: SigningKeys, clock: Clock
) -> None:
    """After publishDelay another key may be current that this process has never seen."""
    await keys.tend()
    backend.fault = "unreachable"
    clock.now += DELAY - 1
    await keys.tend()
    backend.fault = ""
    assert (await keys.sign({})).token
    backend.fault = "unreachable"
    await keys.tend()
    clock.now += 2
    backend.fault = ""
    with pytest.raises(SigningError, match="too long ago"):
        await keys.sign({})
    await keys.tend()
    assert (await keys.sign({})).token


async def test_time_goes_on_for_keys_that_can_not_be_read(
    backend: MemoryBackend, keys: SigningKeys, clock: Clock
) -> None:
    """A key whose tokens have all ended is no longer published, backend or not."""
    await keys.tend()
    await keys.rotate(force=True)
    clock.now += DELAY + 1
    await keys.tend()
    assert len(kids(keys)) == 2
    backend.fault = "unreachable"
    clock.now += 361
    await keys.tend()
    assert len(kids(keys)) == 1


async def test_keys_that_have_all_disappeared_are_not_replaced(
    backend: MemoryBackend, keys: SigningKeys, clock: Clock
) -> None:
    """A volume that is not mounted looks like that: what was known stays published, and no new key refuses all tokens."""
    await keys.tend()
    signed = await keys.sign({})
    kept, backend.keys = backend.keys, {}
    clock.now += 10
    await keys.tend()
    assert backend.keys == {}
    assert "disappeared" in keys.state().error
    assert good(keys, signed)
    backend.keys = kept
    await keys.tend()
    assert keys.state().error == ""


async def test_no_fault_ends_the_loop(backend: MemoryBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expected or not: it is counted, told, and tried again."""
    keys = signing_keys(backend, clock, refresh=5.0)
    rounds = 0
    real = backend.versions

    async def failing() -> object:
        nonlocal rounds
        rounds += 1
        if rounds < 4:
            raise RuntimeError("Bearer of a secret")
        return await real()

    monkeypatch.setattr(backend, "versions", failing)
    task = asyncio.create_task(keys.run())
    while not keys.state().usable:  # noqa: ASYNC110 - the clock is simulated
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert keys.state().failures == 3
    assert 15 <= clock.now - NOW <= 30


async def test_a_rotation_waits_for_the_store(backend: MemoryBackend, clock: Clock) -> None:
    """Without it nobody knows whether another replica is rotating; signing goes on, and it is told."""
    once = Once()
    keys = signing_keys(backend, clock, once)
    await keys.tend()
    once.down = True
    clock.now += EVERY + 1
    await keys.tend()
    assert len(backend.keys) == 1
    assert (await keys.sign({})).token
    assert "store" in keys.state().error
    once.down = False
    await keys.tend()
    assert len(backend.keys) == 2


async def test_two_keys_with_one_name_are_refused(backend: MemoryBackend, keys: SigningKeys) -> None:
    """A backend that does that can't be right: what was known stays."""
    await keys.tend()
    (version, key) = next(iter(backend.keys.values()))
    backend.keys["twice"] = (replace(version, created=version.created + 1), key)
    with pytest.raises(SigningError, match="one kid"):
        await keys.refresh()
    assert len(kids(keys)) == 1


async def test_only_public_members_are_published(backend: MemoryBackend, keys: SigningKeys) -> None:
    """Whatever a backend gives as the public half: a private member in it goes nowhere; what is no key is refused."""
    await keys.tend()
    (kid, (version, key)) = next(iter(backend.keys.items()))
    backend.keys[kid] = (replace(version, public={**(version.public or {}), "d": "c2VjcmV0", "note": "x"}), key)
    await keys.refresh()
    assert "c2VjcmV0" not in keys.jwks().decode()
    for broken in ({"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC"}, {}):
        backend.keys[kid] = (replace(version, public=broken), key)
        with pytest.raises(SigningError, match="no public key") as caught:
            await keys.refresh()
        assert "c2VjcmV0" not in str(caught.value)
