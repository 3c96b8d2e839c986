"""The running signing keys: what they sign, and what they tell."""

import json
from dataclasses import replace

import jwt
import pytest

from extauthz.errors import SigningError
from extauthz.tokens.signing import SigningKeys
from extauthz.tokens.signing_key import generate_key
from tests.tokens.signing import (
    DELAY,
    EVERY,
    NOW,
    SCHEDULE,
    Clock,
    MemoryBackend,
    by_joserfc,
    by_pyjwt,
    kids,
    signing_keys,
)


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
