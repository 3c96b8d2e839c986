"""A clock, a store of claims and a backend in memory for the tests of signing keys, and two judges of their tokens."""

import asyncio
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import joserfc.jwk
import joserfc.jws
import jwt
from joserfc.errors import SecurityWarning

from extauthz.errors import AlreadyRotatedError, SigningError, StoreError
from extauthz.tokens.key_view import view_of
from extauthz.tokens.ports import KeyBackend, KeyVersion
from extauthz.tokens.schedule import KeySchedule
from extauthz.tokens.signing import Signed, SigningKeys
from extauthz.tokens.signing_key import SigningKey, generate_key

NOW = 1_800_000_000.0
SCHEDULE = KeySchedule(rotate_every=3600, publish_delay=600, max_token_lifetime=300, skew=60)
DELAY = SCHEDULE.publish_delay
EVERY = SCHEDULE.rotate_every


class Clock:
    """A time that tests move."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let it pass at once."""
        self.now += seconds
        await asyncio.sleep(0)


class Once:
    """What was claimed by whom; the part of a token store that rotation needs."""

    def __init__(self) -> None:
        self.claims: dict[str, float] = {}
        self.down = False

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        if self.down:
            raise StoreError("the store can't be reached")
        await asyncio.sleep(0)
        if self.claims.get(name, now) > now:
            return False
        self.claims[name] = until
        return True


class MemoryBackend:
    """Keys in memory, and the faults that no real backend shows on request."""

    name = "memory"
    rotates = True

    def __init__(self) -> None:
        self.keys: dict[str, tuple[KeyVersion, SigningKey]] = {}
        self.fault = ""
        """Makes everything fail."""
        self.sign_fault = ""
        self.compares = True
        """Whether ``add`` compares: Vault Transit does not."""
        self.parts_with_last = True
        """Whether ``remove`` takes the newest key: Vault Transit does not."""
        self.impostor: SigningKey | None = None
        """Signs in the place of the real keys."""
        self.hang = False
        self.asked = self.signatures = 0
        self.generate: Callable[[str], SigningKey] = generate_key

    async def versions(self) -> Sequence[KeyVersion]:
        self.asked += 1
        await self._pass()
        return sorted((version for version, _ in self.keys.values()), key=lambda version: version.created)

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        self.signatures += 1
        await self._pass()
        if self.hang:
            await asyncio.sleep(3600)
        if self.sign_fault:
            raise SigningError(self.sign_fault)
        if kid not in self.keys:
            raise SigningError("there is no such key")
        return (self.impostor or self.keys[kid][1]).sign(signing_input)

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:
        await self._pass()
        versions = await self.versions()
        if self.compares and (versions[-1].kid if versions else None) != newest:
            raise AlreadyRotatedError("somebody was faster")
        if versions:
            created = max(created, versions[-1].created + 0.001)
        key = self.generate(algorithm)
        version = KeyVersion(key.kid, algorithm, created, key.public)
        self.keys[key.kid] = version, key
        return version

    async def remove(self, kid: str) -> None:
        await self._pass()
        if kid in self.keys:
            if not self.parts_with_last and kid == (await self.versions())[-1].kid:
                raise SigningError("it is the newest key")
            limit = self.keys[kid][0].created
            self.keys = {name: pair for name, pair in self.keys.items() if pair[0].created > limit}

    async def close(self) -> None:
        pass

    async def _pass(self) -> None:
        await asyncio.sleep(0)
        if self.fault:
            raise SigningError(self.fault)


def signing_keys(
    backend: KeyBackend, clock: Clock, once: Once | None = None, *, schedule: KeySchedule = SCHEDULE, **more: Any
) -> SigningKeys:
    """Signing keys with everything that a test does not care about."""
    return SigningKeys(backend, schedule, once or Once(), now=clock, sleep=clock.sleep, **more)


def by_pyjwt(token: str, jwks: Mapping[str, Any], algorithms: Sequence[str]) -> Mapping[str, Any] | None:
    """The payload if PyJWT finds the key by its name and takes the signature."""
    kid = jwt.get_unverified_header(token)["kid"]
    for key in jwt.PyJWKSet.from_dict(dict(jwks)).keys if jwks["keys"] else ():
        if key.key_id == kid:
            decoded = jwt.decode_complete(token, key, algorithms=list(algorithms), options=_SIGNATURE_ALONE)
            payload: Mapping[str, Any] = decoded["payload"]
            return payload
    return None


def by_joserfc(token: str, jwks: Mapping[str, Any], algorithms: Sequence[str]) -> bytes:
    """The payload if joserfc takes the signature."""
    keys = joserfc.jwk.KeySet.import_key_set({"keys": [dict(key) for key in jwks["keys"]]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # RFC 9864 prefers the name Ed25519, which few know yet
        return joserfc.jws.deserialize_compact(token, keys, algorithms=list(algorithms)).payload


_SIGNATURE_ALONE: Any = dict.fromkeys(
    ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False
)


def jwks_of(versions: Sequence[KeyVersion], now: float | None = None) -> bytes:
    """What would be published of these keys, when the newest was made unless another time is given."""
    return view_of(SCHEDULE.place(versions, versions[-1].created if now is None else now)).jwks


def kids(keys: SigningKeys) -> list[str]:
    return [key["kid"] for key in json.loads(keys.jwks())["keys"]]


def slots(keys: SigningKeys) -> list[str]:
    return [key.slot for key in keys.state().keys]


async def signer(keys: SigningKeys) -> str:
    return (await keys.sign({"sub": "a"})).kid


def good(keys: SigningKeys, signed: Signed) -> bool:
    """Whether somebody who fetches the keys now takes a token."""
    return by_pyjwt(signed.token, json.loads(keys.jwks()), keys.algorithms()) is not None
