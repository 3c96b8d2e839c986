"""The keys of this process's own token service, taken from the process itself.

What signs here verifies here, without a way round through HTTP: a new key is known before it signs, one that is revoked
ends its tokens in the same moment, and a secret for HS256, which no key set may hold, can be used at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import structlog

from extauthz.errors import KeySetError
from extauthz.identity.key_sets import KeySet, key_set_of_jwks
from extauthz.identity.keys import Key, UnusableKeyError, secret_key
from extauthz.identity.standing import Standing

__all__ = ["OWN_ALGORITHMS", "KeyKeeper", "OwnKeys", "VerificationKey", "own_key_set"]

_log = structlog.get_logger(__name__)

OWN_ALGORITHMS = frozenset({"ES256", "EdDSA", "RS256", "PS256", "HS256"})
"""What the token service signs with. Each key is good for one of them, so HS256 can't be had with a public key."""


class VerificationKey(Protocol):
    """One key whose tokens are good."""

    @property
    def kid(self) -> str:
        """Its name, in the header of each token."""
        ...

    @property
    def algorithm(self) -> str:
        """The one that it signs with."""
        ...

    @property
    def public(self) -> Mapping[str, Any] | None:
        """Its JWK; None for HS256."""
        ...

    @property
    def secret(self) -> bytes | None:
        """The secret of HS256; None for all others."""
        ...


class KeyKeeper(Protocol):
    """Has the keys. ``extauthz.tokens.signing.SigningKeys`` is the real one."""

    def verification_keys(self) -> Sequence[VerificationKey]:
        """The keys whose tokens are good now."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back each time they have changed."""
        ...

    async def refresh(self) -> None:
        """Look at them again, wherever they are kept. Raises SigningError."""
        ...


class OwnKeys:
    """Keys are those of this process's own token service, which also says whether its tokens still stand."""

    __slots__ = ("keeper", "standing")

    def __init__(self, keeper: KeyKeeper, standing: Standing) -> None:
        """Keep both."""
        self.keeper = keeper
        self.standing = standing


def own_key_set(keys: Sequence[VerificationKey], algorithms: frozenset[str]) -> KeySet | None:
    """The keys that tokens can be verified with; None if there is none."""
    found: list[Key] = []
    skipped: list[str] = []
    for key in keys:
        try:
            found += _read(key, algorithms)
        except (KeySetError, UnusableKeyError) as error:
            skipped.append(f"{key.kid}: {error}")
    if skipped:
        _log.error("keys.own_unusable", skipped=skipped)
    return KeySet(tuple(found), tuple(skipped)) if found else None


def _read(key: VerificationKey, algorithms: frozenset[str]) -> tuple[Key, ...]:
    if key.algorithm not in algorithms:
        raise UnusableKeyError("its algorithm is not among those of the provider")
    if key.secret is not None:
        return (replace(secret_key(key.secret), id=key.kid),)
    if key.public is None:
        raise UnusableKeyError("it has no public half")
    keys = key_set_of_jwks({"keys": [{**key.public, "kid": key.kid}]}, frozenset({key.algorithm})).keys
    return tuple(replace(one, id=key.kid) for one in keys)
