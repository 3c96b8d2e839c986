"""Key sets: all keys that may vouch for one provider's tokens, as one immutable value.

A set is read for the algorithms that its provider allows, so that "the set has a usable key" means what the operator
would expect. Two things make a whole set unusable, because no reading of them is safe: a symmetric key, which its
publisher has just shown to the world, and one ``kid`` for two different keys that could verify the same token, where any
choice would be a guess. Otherwise single bad keys are skipped and named.

A token that names a key is verified with that key alone. One that names none is tried with the keys that fit its
algorithm, the first four at most, to bound what a forged token costs.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from extauthz.errors import KeySetError
from extauthz.identity.keys import Key, UnusableKeyError, read_public_key, secret_key
from extauthz.identity.strict_json import JsonError, read_object

__all__ = ["KeySet", "key_set_of_jwks", "parse_key_set", "secret_key_set"]

_MAX_KEYS = 100
_MAX_TRIES = 4


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one provider."""

    keys: tuple[Key, ...]
    skipped: tuple[str, ...] = ()
    """Why which keys were left out, for the log."""
    nameless: bool = False
    """It is a local secret, one key without a name: a token's ``kid`` says nothing."""

    def named(self, key_id: str) -> tuple[Key, ...]:
        """The keys with that ``kid``: more than one only if their algorithms differ."""
        return tuple(key for key in self.keys if key.id == key_id)

    def fitting(self, algorithm: str) -> tuple[Key, ...]:
        """The keys to try for a token that names none."""
        return tuple(key for key in self.keys if algorithm in key.algorithms)[:_MAX_TRIES]


def parse_key_set(raw: bytes, algorithms: frozenset[str]) -> KeySet:
    """Read a JWK Set (RFC 7517 section 5) as it was fetched or stored.

    Raises:
        KeySetError: It is not a JWK Set, or can't be used.
    """
    try:
        return key_set_of_jwks(read_object(raw), algorithms)
    except JsonError as error:
        raise KeySetError(f"the key set is {error}") from error


def key_set_of_jwks(jwks: Mapping[str, Any], algorithms: frozenset[str]) -> KeySet:
    """Read a JWK Set whose JSON is parsed.

    Raises:
        KeySetError: It is not a JWK Set, holds a symmetric key or one kid for two keys, or has no usable key.
    """
    entries = jwks.get("keys")
    if not isinstance(entries, list | tuple):
        raise KeySetError("the key set has no list of keys")
    if len(entries) > _MAX_KEYS:
        raise KeySetError(f"the key set has more than {_MAX_KEYS} keys")
    if any(isinstance(entry, Mapping) and entry.get("kty") == "oct" for entry in entries):
        raise KeySetError("the key set holds a symmetric key (kty oct), which must never be published")
    keys: list[Key] = []
    skipped: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            key = read_public_key(entry)
        except UnusableKeyError as error:
            skipped.append(f"key {number}: {error}")
            continue
        allowed = key.algorithms & algorithms
        if allowed:
            keys.append(Key(key.id, key.family, allowed, key.material))
        else:
            skipped.append(f"key {number}: its algorithms are not allowed for this provider")
    if not keys:
        raise KeySetError("the key set has no usable key" + "".join(f"; {reason}" for reason in skipped[:_MAX_TRIES]))
    keys = _without_repeats(keys)
    for one, other in combinations(keys, 2):
        if one.id is not None and one.id == other.id and one.algorithms & other.algorithms:
            raise KeySetError("the key set has one kid for two different keys")
    return KeySet(tuple(keys), tuple(skipped))


def secret_key_set(content: bytes, encoding: Literal["text", "base64"]) -> KeySet:
    r"""Read a secret for HS256.

    ``text`` takes the bytes of the file without the last newline (``\n`` or ``\r\n``), as other libraries read the
    output of ``openssl rand -base64 32``; ``base64`` takes the bytes that it encodes.

    Raises:
        KeySetError: There is no secret that is good enough. The text holds nothing of it.
    """
    secret = content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content
    if encoding == "base64":
        try:
            secret = b64decode(secret, validate=True)
        except binascii.Error:
            raise KeySetError("the secret is not base64") from None
    try:
        return KeySet((secret_key(secret),), nameless=True)
    except UnusableKeyError as error:
        raise KeySetError(f"the secret can't be used: {error}") from None


def _without_repeats(keys: Iterable[Key]) -> list[Key]:
    """The keys without those that are there twice with the same kid, as merged sets have them."""
    unique: list[Key] = []
    for key in keys:
        if key not in unique:
            unique.append(key)
    return unique
