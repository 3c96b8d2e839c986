"""The signing keys as they were last seen, and what verifiers are told of them: one immutable value, replaced as a whole."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from extauthz.errors import SigningError
from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.public_key import canonical_json, published
from extauthz.tokens.schedule import Placed, Slot

__all__ = ["KeyState", "KeyView", "SigningState", "state_of", "view_of"]


@dataclass(frozen=True, slots=True)
class KeyView:
    """The keys at a time."""

    placed: tuple[Placed, ...]
    """All, oldest first."""
    verification: tuple[KeyVersion, ...]
    """Those whose tokens are good."""
    jwks: bytes
    """The JWK Set (RFC 7517 section 5): their public halves; a secret has none."""
    etag: str
    """Of the JWK Set, with its quotes."""

    @property
    def versions(self) -> tuple[KeyVersion, ...]:
        """All keys, oldest first."""
        return tuple(placed.version for placed in self.placed)


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key, for people and for readiness."""

    kid: str
    algorithm: str
    slot: Slot
    created: float
    """Seconds since the epoch."""
    age: float
    """Seconds since it was made; never negative."""
    signs: float
    """From when on it signs."""
    replaced: float | None
    """Until when it signs; None if nothing says when."""
    leaves: float | None
    """Until when it is published; None if nothing says when."""


@dataclass(frozen=True, slots=True)
class SigningState:
    """How the signing keys are doing."""

    backend: str
    keys: tuple[KeyState, ...]
    usable: bool
    """Tokens can be signed, as far as one can say without signing one."""
    next_rotation: float | None
    """When the next key is made, in seconds since the epoch; None if nothing says when."""
    error: str = ""
    """What went wrong last, empty if the last look and the last signature went well. Holds no secret."""
    rotations: int = 0
    """Keys that this process has made."""
    failures: int = 0
    """What failed in this process: looks, rotations, signatures."""
    next_in: float | None = None
    """Seconds until the next key is made; None if nothing says when."""
    missed: int = 0
    """Those of ``failures`` that are no signatures."""
    went_back: int = 0
    """How often the keys were older than those seen before."""
    read: float | None = None
    """Seconds since the last look that went well; None if none did."""
    every: float | None = None
    """Seconds from one look to the next, about."""

    @property
    def sentence(self) -> str:
        """How they are, for people."""
        parts = [f"{key.slot} {key.kid}, {_span(key.age)} old" for key in self.keys if key.slot != "gone"]
        if not parts:
            parts.append("none yet")
        if self.next_in is not None:
            parts.append(f"the next one in {_span(self.next_in)}")
        if self.read is not None:
            parts.append(f"read {_span(self.read)} ago")
        if self.every is not None:
            parts.append(f"looked at every {self.every:g} s")
        told = f"{self.backend}: " + "; ".join(parts)
        return f"{self.error}; {told}" if self.error else told


def _span(seconds: float) -> str:
    """Coarse, as somebody would say it."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"


def state_of(placed: Placed, now: float) -> KeyState:
    """One key, for people."""
    version = placed.version
    replaced, leaves = (time if math.isfinite(time) else None for time in (placed.replaced, placed.leaves))
    age = max(now - version.created, 0.0)
    return KeyState(version.kid, version.algorithm, placed.slot, version.created, age, placed.signs, replaced, leaves)


def view_of(placed: Sequence[Placed]) -> KeyView:
    """What is to be told of keys.

    Raises:
        SigningError: A backend gives what is no public key, or two keys with one name.
    """
    verification = tuple(one.version for one in placed if one.published)
    if len({version.kid for version in verification}) != len(verification):
        raise SigningError("the backend has two keys with one kid")
    keys: list[Mapping[str, Any]] = []
    for version in verification:
        if version.public is None:
            continue
        try:
            keys.append(published(version.public, version.algorithm, version.kid))
        except (KeyError, TypeError):
            raise SigningError(f"the backend gives no public key for {version.kid}") from None
    jwks = canonical_json({"keys": keys})
    return KeyView(tuple(placed), verification, jwks, f'"{sha256(jwks).hexdigest()[:32]}"')
