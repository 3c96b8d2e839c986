"""Signing with a shared secret (HS256): for a demo, or one server whose tokens nobody else has to check.

Whoever can check such a token can make one. So the secret is never in the JWK Set, only the verifier in this process gets
it, and the log says at each start what it means. There is one secret and no next one: another content of the file is
another key, and what the old one has signed is refused from then on.
"""

import asyncio
import binascii
import hmac
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from extauthz.errors import SigningError
from extauthz.tokens.encoding import base64url
from extauthz.tokens.foreign_keys import ForeignKeys, read_secret
from extauthz.tokens.ports import KeyVersion

__all__ = ["SecretKeyBackend"]

_log = structlog.get_logger(__name__)

_LEAST = 32
"""Bytes: the size of the hash (RFC 7518 section 3.2)."""
_LEAST_DISTINCT = 10
"""Different bytes among them. 32 random ones have fewer once in 10^20 times, and typed ones often do."""
_SAMPLES = ("secret", "changeme", "password", "example", "your-256-bit", "insecure", "0123456789", "abcdefgh")
"""Parts of what tutorials print and people deploy."""
_NO_SECRETS = (b"-----BEGIN", b"ssh-", b"{")
"""How public keys, certificates and JWKs begin."""
_KID = b"extauthz key id"


@dataclass(frozen=True, slots=True)
class _Read:
    """The file as it was last read."""

    content: bytes
    version: KeyVersion


class SecretKeyBackend(ForeignKeys):
    """One secret in a file."""

    name = "secret"

    def __init__(self, path: str, encoding: Literal["text", "base64"] = "text") -> None:
        """Nothing is opened yet. ``text``: the file's bytes without the last newline; ``base64``: what they encode."""
        super().__init__(path)
        self._encoding = encoding
        self._read: _Read | None = None

    async def versions(self) -> Sequence[KeyVersion]:
        """The one key.

        Raises:
            SigningError: The file can't be read, or the secret is not good enough.
        """
        return (await asyncio.to_thread(self._version),)

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """The HMAC by the secret that was seen at the last look."""
        version = self._read.version if self._read is not None else None
        if version is None or version.kid != kid or version.secret is None:
            raise SigningError(f"{self._path} does not hold the key {kid}")
        return hmac.digest(version.secret, signing_input, "sha256")

    async def close(self) -> None:
        """Forget the secret."""
        self._read = None

    def _version(self) -> KeyVersion:
        content, status = read_secret(self._path)
        if self._read is not None and self._read.content == content:
            return self._read.version
        secret = self._secret(content)
        kid = base64url(hmac.digest(secret, _KID, "sha256"))
        if self._read is None:
            _log.warning(
                "secret_key.in_use",
                path=str(self._path),
                meaning="tokens are signed with a shared secret (HS256): extauthz alone can check them, and whoever has the "
                "file can make them; tokens.keys.folder signs with ES256",
            )
        else:
            _log.warning(
                "secret_key.replaced", path=str(self._path), meaning="all tokens of the old secret are refused"
            )
        self._read = _Read(content, KeyVersion(kid, "HS256", status.st_mtime, None, secret, "current"))
        return self._read.version

    def _secret(self, content: bytes) -> bytes:
        r"""The secret in a file. ``text`` takes off one ``\n`` or ``\r\n``, as other libraries read what openssl prints."""
        text = content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content
        try:
            decoded = b64decode(text, validate=True)
        except binascii.Error:
            if self._encoding == "base64":
                raise SigningError(f"{self._path} is not base64") from None
            decoded = text
        if fault := _weakness(text, decoded):
            raise SigningError(f"{self._path} holds no secret for HS256: {fault}; openssl rand -base64 32 makes one")
        return decoded if self._encoding == "base64" else text


def _weakness(text: bytes, decoded: bytes) -> str:
    """Why these bytes are no secret; empty if they may be one. What looks like base64 counts as what it encodes."""
    lower = text.lower().decode("latin-1")
    if text.startswith(_NO_SECRETS):
        return "it is a public key, a certificate or a JWK, and these are not secret"
    if len(decoded) < _LEAST:
        return f"it has {len(decoded)} bytes, and at least {_LEAST} are needed"
    if len(set(decoded)) < _LEAST_DISTINCT or any(sample in lower for sample in _SAMPLES):
        return "it is a sample that everybody knows, or was typed by somebody"
    return ""
