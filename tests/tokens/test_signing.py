"""The running signing keys: what they sign, tell and do over time, alone, beside other replicas, and when things fail."""

import asyncio
import json
from dataclasses import replace

import jwt
import pytest

from extauthz.errors import AuditError, SigningError, StoreError
from extauthz.tokens.ports import AuditEvent
from extauthz.tokens.signing import Signed, SigningKeys
from extauthz.tokens.signing_key import generate_key
from tests.tokens.signing import (
    NOW,
    SCHEDULE,
    Clock,
    MemoryBackend,
    Once,
    by_joserfc,
    by_pyjwt,
    signing_keys,
)

DELAY = SCHEDULE.publish_delay
EVERY = SCHEDULE.rotate_every


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def keys(backend: MemoryBackend, clock: Clock) -> SigningKeys:
    return signing_keys(backend, clock)


def kids(keys: SigningKeys) -> list[str]:
    return [key["kid"] for key in json.loads(keys.jwks())["keys"]]


def slots(keys: SigningKeys) -> list[str]:
    return [key.slot for key in keys.state().keys]


async def signer(keys: SigningKeys) -> str:
    return (await keys.sign({"sub": "a"})).kid


def good(keys: SigningKeys, signed: Signed) -> bool:
    """Whether somebody who fetches the keys now takes a token."""
    return by_pyjwt(signed.token, json.loads(keys.jwks()), keys.algorithms()) is not None


# ------------------------------------------------------------------------------------------------------------ signing


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256", "PS256"])
async def test_a_token_is_what_others_expect(algorithm: str, backend: MemoryBackend, clock: Clock) -> None:
    """Two libraries take it; its header has alg, kid and typ, and no more."""
    keys = signing_keys(backend, clock, schedule=replace(SCHEDULE, algorithm=algorithm))
    await keys.tend()
    claims = {"sub": "Zoë", "aud": ["orders"], "exp": NOW + 300, "roles": ["admin"]}
    signed = await keys.sign(claims)
    jwks = json.loads(keys.jwks())
    assert by_pyjwt(signed.token, jwks, [algorithm]) == claims
    assert json.loads(by_joserfc(signed.token, jwks, [algorithm])) == claims
    assert jwt.get_unverified_header(signed.token) == {"alg": algorithm, "kid": signed.kid, "typ": "at+jwt"}
    assert (signed.algorithm, keys.algorithms()) == (algorithm, (algorithm,))
    assert jwt.get_unverified_header((await keys.sign({}, typ="JWT")).token)["typ"] == "JWT"
    assert signed.token not in repr(signed)


async def test_the_same_claims_are_the_same_bytes(keys: SigningKeys) -> None:
    """Whatever order they come in: what is signed is canonical."""
    await keys.tend()
    one, other = await keys.sign({"a": 1, "b": {"d": 2, "c": 3}}), await keys.sign({"b": {"c": 3, "d": 2}, "a": 1})
    assert one.token.rpartition(".")[0] == other.token.rpartition(".")[0]


async def test_a_token_does_not_outlive_its_key(keys: SigningKeys) -> None:
    """One that would is not signed: its key might no longer be published."""
    await keys.tend()
    await keys.sign({"exp": NOW + SCHEDULE.max_token_lifetime})
    with pytest.raises(SigningError, match="outlive"):
        await keys.sign({"exp": NOW + SCHEDULE.max_token_lifetime + 60})


async def test_nothing_is_signed_before_the_keys_are_read(keys: SigningKeys, backend: MemoryBackend) -> None:
    """And nothing is published: verifiers would keep an empty set."""
    assert "not been read" in keys.state().error
    backend.fault = "sealed"
    with pytest.raises(SigningError, match="not been read yet: sealed"):
        await keys.sign({})
    with pytest.raises(SigningError, match="sealed"):
        keys.jwks()
    assert not keys.algorithms()
    assert not keys.state().usable


async def test_a_signature_by_another_key_is_not_given_out(
    backend: MemoryBackend, keys: SigningKeys, clock: Clock
) -> None:
    """The public half judges each signature first (F23)."""
    await keys.tend()
    backend.impostor = generate_key("ES256")
    with pytest.raises(SigningError, match="another key"):
        await keys.sign({})
    backend.impostor = None
    clock.now += 2
    assert (await keys.sign({})).token


# ------------------------------------------------------------------------------------------------------- what is told


async def test_the_jwk_set_is_stable(keys: SigningKeys, clock: Clock) -> None:
    """Bytes and entity tag are the same until a key comes or goes, and every key has what verifiers need."""
    await keys.tend()
    first, tag = keys.jwks(), keys.etag
    clock.now += 100
    await keys.tend()
    assert (keys.jwks(), keys.etag) == (first, tag)
    assert tag.startswith('"')
    assert tag.endswith('"')
    assert set(json.loads(first)["keys"][0]) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    await keys.rotate(force=True)
    assert keys.etag != tag
    assert json.loads(keys.jwks())["keys"][0] == json.loads(first)["keys"][0]


async def test_the_jwk_set_may_be_kept_for_so_long_that_each_key_is_seen_in_time(
    backend: MemoryBackend, clock: Clock
) -> None:
    """max-age, the time to the next look and the skew fit into publishDelay together."""
    for delay in (0.0, 30.0, 70.0, 200.0, 600.0, 3000.0):
        keys = signing_keys(backend, clock, schedule=replace(SCHEDULE, publish_delay=delay), refresh=5.0)
        assert 0 <= keys.max_age <= 300
        assert keys.max_age == 0 or keys.max_age + 6 + SCHEDULE.skew <= delay


async def test_changes_are_told(keys: SigningKeys, clock: Clock) -> None:
    """Once for each: a new key, one that is gone; nothing for a key that only begins to sign."""
    told: list[list[str]] = []
    keys.on_change(lambda: told.append([version.kid for version in keys.verification_keys()]))
    await keys.tend()
    await keys.tend()
    assert len(told) == 1
    clock.now += EVERY + 1
    await keys.tend()
    assert len(told) == 2
    clock.now += DELAY + 1
    await keys.tend()
    assert len(told) == 2
    clock.now += 361
    await keys.tend()
    assert [len(one) for one in told] == [1, 2, 1]
    assert told[-1] == kids(keys)


async def test_how_they_are_in_a_sentence(keys: SigningKeys, backend: MemoryBackend, clock: Clock) -> None:
    """For readiness: slots with ages, the next rotation, and what went wrong last."""
    assert keys.state().sentence == "the signing keys have not been read yet; memory: none yet; looked at every 5 s"
    await keys.tend()
    clock.now += EVERY
    await keys.tend()
    first, second = kids(keys)
    assert (
        keys.state().sentence
        == f"memory: current {first}, 1 h old; next {second}, 0 s old; the next one in 1 h; read 0 s ago; looked at every 5 s"
    )
    clock.now += 90
    backend.fault = "sealed"
    await keys.tend()
    assert keys.state().sentence.startswith(f"sealed; memory: current {first}, 1 h old; next {second}, 1 min old; ")


# ------------------------------------------------------------------------------------------------------------ rotation


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


# -------------------------------------------------------------------------------------------------------------- faults


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
