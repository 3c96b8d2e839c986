"""Many rotations in a short time: no valid token is refused, no expired one is accepted, whoever is restarted when (K7).

Verifiers are of three kinds, as they are in the world: the one in the process of the service, one that fetches the key set
and keeps it for its ``max-age``, and one that fetches again when it does not know a key. PyJWT judges.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import jwt
import pytest

from extauthz.tokens.key_files import FileKeyBackend
from extauthz.tokens.schedule import KeySchedule
from extauthz.tokens.signing import SigningKeys
from extauthz.tokens.signing_key import generate_key
from tests.tokens.signing import NOW, Clock, MemoryBackend, Once, signing_keys

POOL = [generate_key("EdDSA") for _ in range(200)]
"""Made before the clock runs."""


@dataclass
class Verifier:
    """Somebody who fetches the key set over HTTP and keeps it as long as it may."""

    keys: Callable[[], SigningKeys]
    """A replica, whichever answers."""
    now: Callable[[], float]
    skew: float
    delay: float
    """For how long it keeps a copy: what max-age allows."""
    fetched: float = -1e18
    known: Mapping[str, jwt.PyJWK] = field(default_factory=dict)

    def accepts(self, token: str) -> bool:
        """Whether signature and times are right; never another fetch because a key is unknown."""
        if self.now() - self.fetched >= self.delay:
            self.fetched = self.now()
            fetched = {key["kid"]: key for key in json.loads(self.keys().jwks())["keys"]}
            self.known = {kid: self.known.get(kid) or jwt.PyJWK(key) for kid, key in fetched.items()}
        header = jwt.get_unverified_header(token)
        key = self.known.get(header["kid"])
        if key is None:
            return False
        options: Any = dict.fromkeys(("verify_exp", "verify_iat"), False)
        try:
            claims = jwt.decode(token, key, algorithms=[header["alg"]], options=options)
        except jwt.InvalidTokenError:
            return False
        return bool(claims["iat"] <= self.now() + self.skew and self.now() < claims["exp"])


class RealTime:
    """The real time, but for moments in which the machine did something else: nobody looks at keys then, either."""

    def __init__(self) -> None:
        self.now = self.last = time.time()

    def __call__(self) -> float:
        last, self.last = self.last, time.time()
        self.now += min(self.last - last, 0.05)
        return self.now


async def test_a_hundred_rotations_of_three_replicas() -> None:
    """Keys of 0.2 s by a simulated clock, tokens of 0.3 s; replicas look, sleep and are restarted as it comes."""
    random = Random(7)
    clock, once, backend = Clock(), Once(), MemoryBackend()
    made = iter(POOL)
    backend.generate = lambda _algorithm: next(made)
    schedule = KeySchedule(rotate_every=0.2, publish_delay=0.12, max_token_lifetime=0.3, skew=0.02, algorithm="EdDSA")

    def replica() -> SigningKeys:
        return signing_keys(backend, clock, once, schedule=schedule, refresh=0.02)

    replicas = [replica() for _ in range(3)]
    for one in replicas:
        await one.tend()
    # Fetched from anybody; at the latest one look, one max-age and one skew after a key was made it is known.
    verifiers = [Verifier(lambda: random.choice(replicas), clock, 0.0, delay) for delay in (0.0, 0.05, 0.07)]
    tokens: list[tuple[str, float]] = []
    signers: set[str] = set()
    start = clock.now
    while clock.now < start + 30:
        clock.now += random.choice((0.006, 0.017, 0.028))
        for number, one in enumerate(replicas):
            if random.random() < 0.01:
                replicas[number] = one = replica()  # noqa: PLW2901 - a restart in any state
            await one.tend()
        signed = await random.choice(replicas).sign({"iat": clock.now, "exp": clock.now + 0.3})
        signers.add(signed.kid)
        tokens.append((signed.token, clock.now + 0.3))
        for verifier in verifiers:
            token, ends = random.choice(tokens)
            assert verifier.accepts(token) == (clock.now < ends), (clock.now - start, ends - clock.now)
        tokens = [(token, ends) for token, ends in tokens if ends > clock.now - 0.1]
    assert len(signers) > 100
    assert len(backend.keys) < 40


async def test_three_seconds_in_real_time(tmp_path: Path) -> None:
    """Files, two replicas and a command beside them, a key each 0.4 s and tokens of a second; one replica is restarted."""
    schedule = KeySchedule(rotate_every=0.4, publish_delay=0.3, max_token_lifetime=1.0, skew=0.1, algorithm="ES256")
    once, now = Once(), RealTime()

    def replica() -> SigningKeys:
        return SigningKeys(FileKeyBackend(str(tmp_path / "keys")), schedule, once, now=now, refresh=0.05)

    running: dict[int, tuple[SigningKeys, asyncio.Task[None]]] = {}

    async def begin(number: int) -> None:
        keys = replica()
        await keys.tend()
        running[number] = keys, asyncio.create_task(keys.run())

    await begin(0)
    await begin(1)
    verifier = Verifier(lambda: running[1][0], now, 0.1, 0.05)
    tokens: list[tuple[str, float]] = []
    signers: set[str] = set()
    end, restart = now() + 3, now() + 1.5
    checked = refused = 0
    while now() < end:
        if now() > restart:
            restart = end + 1
            running[1][1].cancel()
            await asyncio.gather(running[1][1], return_exceptions=True)
            await begin(1)
        at = now()
        signed = await running[len(tokens) % 2][0].sign({"iat": at, "exp": at + 1.0})
        signers.add(signed.kid)
        tokens.append((signed.token, at + 1.0))
        for token, ends in tokens[:: max(len(tokens) // 8, 1)]:
            before = now()
            accepted = verifier.accepts(token)
            # While it was judged the time went on: what ends meanwhile may be either.
            if before >= ends or now() < ends:
                assert accepted == (before < ends), (before - end, ends - before)
                checked, refused = checked + 1, refused + (not accepted)
        await asyncio.sleep(0.01)
    for _, task in running.values():
        task.cancel()
    await asyncio.gather(*(task for _, task in running.values()), return_exceptions=True)
    assert [keys.state().failures for keys, _ in running.values()] == [0, 0]
    assert len(signers) >= 4
    assert refused
    assert checked > 100


@pytest.mark.parametrize("seed", range(3))
async def test_clocks_that_differ(seed: int) -> None:
    """Three replicas whose clocks are off by up to the skew: what one signs, all publish, for as long as it is good."""
    random = Random(seed)
    true, once, backend = Clock(), Once(), MemoryBackend()
    made = iter(POOL)
    backend.generate = lambda _algorithm: next(made)
    schedule = KeySchedule(rotate_every=100, publish_delay=40, max_token_lifetime=50, skew=10, algorithm="EdDSA")
    clocks = [Clock(true.now + offset) for offset in (-5.0, 0.0, 5.0)]
    replicas = [signing_keys(backend, clock, once, schedule=schedule, refresh=2.0) for clock in clocks]
    tokens: list[tuple[str, float]] = []
    while true.now < NOW + 1500:
        step = random.choice((0.5, 1.0, 3.0))
        true.now += step
        for clock in clocks:
            clock.now += step
        for one in replicas:
            await one.tend()
        number = random.randrange(3)
        here = clocks[number].now
        signed = await replicas[number].sign({"exp": here + 50})
        tokens.append((signed.kid, here + 50))
        tokens = [(kid, ends) for kid, ends in tokens if ends > true.now - 5]
        for kid, ends in random.sample(tokens, min(5, len(tokens))):
            for clock, one in zip(clocks, replicas, strict=True):
                if clock.now < ends:
                    assert kid in {version.kid for version in one.verification_keys()}
    assert len(backend.keys) > 10
