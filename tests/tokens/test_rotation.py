"""The signing keys over time: they follow each other, alone and beside other replicas, and in an emergency at once."""

import asyncio
from dataclasses import replace

import pytest

from extauthz.errors import AuditError, SigningError, StoreError
from extauthz.tokens.ports import AuditEvent
from extauthz.tokens.signing import SigningKeys
from tests.tokens.signing import (
    DELAY,
    EVERY,
    NOW,
    SCHEDULE,
    Clock,
    MemoryBackend,
    Once,
    good,
    kids,
    signer,
    signing_keys,
    slots,
)


async def test_keys_follow_each_other(keys: SigningKeys, clock: Clock) -> None:
    """Made, published for publishDelay, signing, still published, gone; and what was signed is good until it ends."""
    await keys.tend()
    first = await signer(keys)
    assert keys.state().next_rotation == NOW + EVERY
    clock.now = NOW + EVERY
    old = await keys.sign({"exp": clock.now + 300})
    await keys.tend()
    assert slots(keys) == ["current", "next"]
    assert await signer(keys) == first
    clock.now += DELAY - 0.001
    old = await keys.sign({"exp": clock.now + 300})
    assert old.kid == first
    clock.now += 0.001
    second = await signer(keys)
    assert second != first
    clock.now += 300
    await keys.tend()
    assert good(keys, old)
    clock.now += 60
    await keys.tend()
    assert kids(keys) == [second]
    assert slots(keys) == ["gone", "current"]


async def test_replicas_never_rotate_twice(backend: MemoryBackend, clock: Clock) -> None:
    """16 at once, over a backend that compares and over one that does not: one key a time, and all are content (K5)."""
    once = Once()
    replicas = [signing_keys(backend, clock, once) for _ in range(16)]
    for compares in (True, False):
        backend.compares = compares
        before = len(backend.keys)
        await asyncio.gather(*(replica.tend() for replica in replicas))
        assert len(backend.keys) == before + 1
        clock.now += EVERY + 1
        made = await asyncio.gather(*(replica.rotate() for replica in replicas))
        assert len({version.kid for version in made}) == 1
        assert len(backend.keys) == before + 2
        clock.now += EVERY + 1
    await asyncio.gather(*(replica.tend() for replica in replicas))
    assert [replica.state().error for replica in replicas] == [""] * 16


async def test_replicas_agree_without_talking(backend: MemoryBackend, clock: Clock) -> None:
    """At any time each signs with the same key and publishes the same bytes; one that starts anew as well."""
    once = Once()
    replicas = [signing_keys(backend, clock, once) for _ in range(3)]
    for _ in range(40):
        for replica in replicas:
            await replica.tend()
        fresh = signing_keys(backend, clock, once)
        await fresh.tend()
        assert len({replica.jwks() for replica in [*replicas, fresh]}) == 1
        assert len({await signer(replica) for replica in [*replicas, fresh]}) == 1
        clock.now += 400


async def test_a_replica_that_dies_while_it_rotates_is_followed(backend: MemoryBackend, clock: Clock) -> None:
    """The others wait a minute for it, and say so to a person; then one of them does it."""
    once = Once()
    keys = signing_keys(backend, clock, once)
    await keys.tend()
    clock.now += EVERY + 1
    await once.use_once(f"rotate:memory:{kids(keys)[0]}", clock.now + 60, now=clock.now)
    await keys.tend()
    assert len(backend.keys) == 1
    with pytest.raises(SigningError, match="another replica"):
        await keys.rotate()
    clock.now += 61
    await keys.tend()
    assert len(backend.keys) == 2


async def test_a_person_rotates(keys: SigningKeys, backend: MemoryBackend) -> None:
    """Without need nothing happens unless it is forced; what is made is next, and gives way to nobody at once."""
    await keys.tend()
    first = await keys.rotate()
    assert [first.kid] == list(backend.keys)
    second = await keys.rotate(force=True)
    assert list(backend.keys) == [first.kid, second.kid]
    assert await signer(keys) == first.kid
    assert slots(keys) == ["current", "next"]


async def test_another_algorithm_takes_over(backend: MemoryBackend, clock: Clock) -> None:
    """By a rotation: both are published meanwhile, and tokens of both are good."""
    before = signing_keys(backend, clock)
    await before.tend()
    keys = signing_keys(backend, clock, schedule=replace(SCHEDULE, algorithm="EdDSA"))
    await keys.tend()
    old = await keys.sign({})
    assert old.algorithm == "ES256"
    assert keys.algorithms() == ("ES256", "EdDSA")
    clock.now += DELAY + 1
    new = await keys.sign({})
    await keys.tend()
    assert new.algorithm == "EdDSA"
    assert good(keys, old)
    assert good(keys, new)


async def test_old_keys_are_destroyed(keys: SigningKeys, backend: MemoryBackend, clock: Clock) -> None:
    """A day after they were last published; the others stay."""
    for _ in range(40):
        await keys.tend()
        clock.now += EVERY + 1
    assert len(backend.keys) < 30
    assert await signer(keys) in backend.keys


async def test_keys_from_the_future_are_not_followed(keys: SigningKeys, backend: MemoryBackend, clock: Clock) -> None:
    """A clock that was an hour ahead has made a key: the current one goes on signing; a person is told, and can mend it."""
    await keys.tend()
    first = await signer(keys)
    clock.now += 10 * EVERY
    await keys.tend()
    ahead = next(kid for kid in backend.keys if kid != first)
    clock.now = NOW + 60
    await keys.tend()
    assert await signer(keys) == first
    with pytest.raises(SigningError, match="in the future"):
        await keys.rotate(force=True)
    await keys.revoke(ahead)
    assert set(backend.keys).isdisjoint({first, ahead})
    assert await signer(keys) in backend.keys
    assert (await keys.rotate(force=True)).kid in backend.keys


async def test_a_last_key_from_the_future_is_replaced_first(
    keys: SigningKeys, backend: MemoryBackend, clock: Clock
) -> None:
    """Where a backend does not part with its last key, as Transit does not: the emergency goes on all the same."""
    backend.parts_with_last = False
    clock.now += 10 * EVERY
    await keys.tend()
    ahead = await signer(keys)
    clock.now = NOW
    await keys.revoke(ahead)
    assert ahead not in backend.keys
    assert await signer(keys) in backend.keys


# ----------------------------------------------------------------------------------------------------------- emergency


async def test_a_revoked_key_is_replaced_at_once(keys: SigningKeys, backend: MemoryBackend) -> None:
    """A new one signs from the next token on; what the old one and those before it have signed is no longer good (K6)."""
    await keys.tend()
    await keys.rotate(force=True)
    old = [await keys.sign({})]
    doomed = list(backend.keys)
    revoked: list[list[str]] = []

    async def revoke(gone: object) -> None:
        assert all(kid in backend.keys for kid in doomed), "the revocation goes out first"
        revoked.append(list(gone))  # type: ignore[call-overload]

    keys.on_revoke(revoke)
    await keys.revoke(doomed[-1])
    new = await keys.sign({})
    assert new.kid not in doomed
    assert kids(keys) == [new.kid] == list(backend.keys)
    assert revoked == [doomed]
    assert good(keys, new)
    assert not any(good(keys, one) for one in old)


async def test_a_key_that_waits_takes_over(keys: SigningKeys, backend: MemoryBackend) -> None:
    """Where a next key is published already it signs at once, and no other is made."""
    await keys.tend()
    first, second = await signer(keys), (await keys.rotate(force=True)).kid
    await keys.revoke(first)
    assert await signer(keys) == second
    assert list(backend.keys) == [second]


async def test_an_old_key_is_revoked(keys: SigningKeys, backend: MemoryBackend, clock: Clock) -> None:
    """The current one goes on."""
    await keys.tend()
    old = await keys.sign({})
    await keys.rotate(force=True)
    clock.now += DELAY + 1
    current = await signer(keys)
    await keys.revoke(old.kid)
    assert await signer(keys) == current
    assert not good(keys, old)


async def test_other_replicas_follow_an_emergency(backend: MemoryBackend, clock: Clock) -> None:
    """At their next look; one that signs before it finds its key gone, and signs with the new one."""
    once = Once()
    one, other = signing_keys(backend, clock, once), signing_keys(backend, clock, once)
    await one.tend()
    await other.tend()
    leaked = await signer(one)
    await one.revoke(leaked)
    results = await asyncio.gather(*(other.sign({}) for _ in range(20)))
    assert {signed.kid for signed in results} == set(backend.keys)
    assert leaked not in kids(other)
    assert backend.asked < 20


async def test_two_people_revoke_at_once(backend: MemoryBackend, clock: Clock) -> None:
    """The same key in two places: it is gone, and there is one to sign with."""
    once = Once()
    one, other = signing_keys(backend, clock, once), signing_keys(backend, clock, once)
    await one.tend()
    leaked = await signer(one)
    await asyncio.gather(one.revoke(leaked), other.revoke(leaked))
    assert leaked not in backend.keys
    assert await signer(one) == await signer(other)


async def test_a_key_is_destroyed_although_the_store_is_down(backend: MemoryBackend, clock: Clock) -> None:
    """Neither the claim nor the revocation can be written; the key goes all the same, and the person is told."""
    once = Once()
    keys = signing_keys(backend, clock, once)
    await keys.tend()
    leaked = await signer(keys)
    once.down = True

    async def revoke(_gone: object) -> None:
        raise StoreError("the store can't be reached")

    keys.on_revoke(revoke)
    with pytest.raises(StoreError):
        await keys.revoke(leaked)
    assert leaked not in backend.keys
    assert await signer(keys) in backend.keys


async def test_an_unknown_key_is_not_revoked(keys: SigningKeys, backend: MemoryBackend) -> None:
    """Nothing happens."""
    await keys.tend()
    with pytest.raises(SigningError, match="no key 'nobody'"):
        await keys.revoke("nobody")
    assert len(backend.keys) == 1


async def test_rotations_and_revocations_are_on_record(backend: MemoryBackend, clock: Clock) -> None:
    """Who has made or destroyed which key is in the audit log; without a record it counts as failed."""

    class Audit:
        def __init__(self) -> None:
            self.events: list[AuditEvent] = []
            self.full = False

        def record(self, event: AuditEvent) -> None:
            if self.full:
                raise AuditError("the disk is full")
            self.events.append(event)

    audit = Audit()
    keys = signing_keys(backend, clock, audit=audit)
    await keys.tend()
    first = await signer(keys)
    await keys.revoke(first)
    assert [(event.action, event.outcome) for event in audit.events] == [
        ("rotate", "done"),
        ("rotate", "done"),
        ("revoke-key", "done"),
    ]
    assert (audit.events[0].key_id, audit.events[2].key_id) == (first, first)
    audit.full = True
    clock.now += EVERY + 1
    await keys.tend()
    assert keys.state().error == "the disk is full"
    leaked = list(backend.keys)
    with pytest.raises(AuditError):
        await keys.revoke(leaked[-1])
    assert set(backend.keys).isdisjoint(leaked), "an emergency does not wait for the log"
    assert await signer(keys) in backend.keys
