"""Refresh tokens: their form, what is kept of them, and how one seals the next.

::

    ert_ base64url( family 16 bytes | generation 4 | random 24 | tag 16 )

The tag is an HMAC by the family's key over all before it. It is checked before anything else: who knows a family and not
its token can't make one that would count as used twice, and so can't end the family (O28). The tag makes no token good:
that is for the digest to say, which is all that a store keeps.

The successor is kept as well, sealed with a key that only the token before it gives: whoever has that token may see what
came after it, and the store may not.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from extauthz.tokens.encoding import base64url, base64url_bytes

__all__ = ["PREFIX", "RefreshToken", "digest_of", "new_refresh_token", "opened", "read_refresh_token", "sealed"]

PREFIX: Final = "ert_"
"""Lets secret scanners find leaked ones."""
FAMILY_SIZE: Final = 16
KEY_SIZE: Final = 32
_GENERATION_SIZE: Final = 4
_RANDOM_SIZE: Final = 24
_TAG_SIZE: Final = 16
_BODY_SIZE: Final = FAMILY_SIZE + _GENERATION_SIZE + _RANDOM_SIZE
_NONCE_SIZE: Final = 12
_PURPOSE: Final = b"extauthz: the successor of a refresh token"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token taken apart; nobody has verified it."""

    text: str = field(repr=False)
    family: str
    generation: int
    body: bytes = field(repr=False)
    tag: bytes = field(repr=False)

    def is_tagged_by(self, key: bytes) -> bool:
        """Whether it was given out once; in constant time."""
        return hmac.compare_digest(_tag(key, self.body), self.tag)


def new_refresh_token(family: str, key: bytes, generation: int, random_bytes: Callable[[int], bytes]) -> str:
    """A token of a family."""
    name = base64url_bytes(family)
    if name is None or len(name) != FAMILY_SIZE:
        message = "a family's id is not 16 bytes in base64url"
        raise ValueError(message)
    body = name + generation.to_bytes(_GENERATION_SIZE) + random_bytes(_RANDOM_SIZE)
    return PREFIX + base64url(body + _tag(key, body))


def read_refresh_token(text: str) -> RefreshToken | None:
    """Take a token apart; None if it has not the form of one."""
    if not text.startswith(PREFIX):
        return None
    raw = base64url_bytes(text[len(PREFIX) :])
    if raw is None or len(raw) != _BODY_SIZE + _TAG_SIZE:
        return None
    body, tag = raw[:_BODY_SIZE], raw[_BODY_SIZE:]
    generation = int.from_bytes(body[FAMILY_SIZE : FAMILY_SIZE + _GENERATION_SIZE])
    return RefreshToken(text, base64url(body[:FAMILY_SIZE]), generation, body, tag)


def digest_of(text: str) -> bytes:
    """What a store keeps of a token."""
    return hashlib.sha256(text.encode()).digest()


def sealed(successor: str, token: str, random_bytes: Callable[[int], bytes]) -> bytes:
    """A token, encrypted so that only who has the one before it can read it."""
    nonce = random_bytes(_NONCE_SIZE)
    return nonce + AESGCM(_sealing_key(token)).encrypt(nonce, successor.encode(), None)


def opened(box: bytes, token: str) -> str | None:
    """The token in what ``sealed`` made; None if another token sealed it."""
    try:
        return AESGCM(_sealing_key(token)).decrypt(box[:_NONCE_SIZE], box[_NONCE_SIZE:], None).decode()
    except (InvalidTag, ValueError):
        return None


def _sealing_key(token: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(token.encode())


def _tag(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_TAG_SIZE]
