"""Signing keys in one secret of Vault's key-value engine (version 2), and signatures made here with them.

For Vaults without Transit, and for more signatures than Vault should be asked for: the private keys leave Vault, and are in
this process's memory. Each change is a write of the whole secret that Vault takes only if nobody else has written since
(check-and-set), so of two replicas that rotate at a time one does.

The version of the secret only ever grows. If it is lower than one that was seen, a backup was restored or the secret was
made anew, and keys that were removed may be in it again: then nothing is signed until a person has looked and starts
extauthz again, or the version has passed the one that was seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import hvac
import structlog
from cryptography.hazmat.primitives import serialization

from extauthz.errors import AlreadyRotatedError, SigningError, VaultError
from extauthz.tokens.ports import KeyVersion
from extauthz.vault.calls import Vault
from extauthz.vault.jose import ALGORITHMS, Private, PublicKey, new_private_key, sign
from extauthz.vault.secrets import Place, find_place

__all__ = ["KvKeys"]

_log = structlog.get_logger()

_MISSING = 404
_REFUSED_WRITE = 400
_KEPT_VERSIONS = 100
"""Vault keeps ten versions of a secret unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class _Key:
    """A signing key, as it is in memory."""

    kid: str
    created: float
    private: Private = field(repr=False)
    public: PublicKey

    @classmethod
    def make(cls, algorithm: str, created: float) -> "_Key":
        private = new_private_key(algorithm)
        public = PublicKey.of(algorithm, private.public_key())
        return cls(public.thumbprint, created, private, public)

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> "_Key":
        private: Any = serialization.load_pem_private_key(str(written["privateKey"]).encode(), password=None)
        public = PublicKey.of(str(written["algorithm"]), private.public_key())
        if written["kid"] != public.thumbprint:
            raise ValueError("its kid is another key's")
        return cls(public.thumbprint, float(written["created"]), private, public)

    @property
    def written(self) -> dict[str, Any]:
        pem = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "kid": self.kid,
            "algorithm": self.public.algorithm,
            "created": self.created,
            "privateKey": pem.decode(),
        }

    @property
    def told(self) -> KeyVersion:
        return KeyVersion(self.kid, self.public.algorithm, self.created, self.public.jwk(self.kid), None)


class KvKeys:
    """Implements ``extauthz.tokens.ports.KeyBackend``."""

    name = "kv"
    rotates = True

    def __init__(self, vault: Vault, path: str) -> None:
        """``path`` is the secret, which may not be there yet."""
        self._vault = vault
        self._path = path
        self._keys: dict[str, _Key] = {}
        self._version = 0
        self._highest = 0
        self.went_back = 0
        """How often the secret had an older version than before, for metrics."""

    async def versions(self) -> Sequence[KeyVersion]:
        """All keys that there are, oldest first. Raises SigningError."""
        await self._read()
        return [key.told for key in self._keys.values()]

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """A signature by a key. Raises SigningError."""
        if kid not in self._keys:
            await self._read()
        key = self._keys.get(kid)
        if key is None:
            raise SigningError(f"{self._path} has no key {kid!r}")
        return sign(key.public.algorithm, key.private, signing_input)

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:
        """Make a key if ``newest`` still names the newest one. Raises SigningError, AlreadyRotatedError among them."""
        if algorithm not in ALGORITHMS:
            raise SigningError(f"keys for {algorithm} are not made here; they are for {', '.join(ALGORITHMS)}")
        await self._read()
        last = next(reversed(self._keys), None)
        if last != newest:
            raise AlreadyRotatedError(f"the newest key is {last!r}, not {newest!r}")
        # A replica whose clock is behind makes a key that is newer all the same.
        key = _Key.make(algorithm, max(created, self._keys[last].created + 0.001) if last else created)
        await self._write([*self._keys.values(), key])
        return key.told

    async def remove(self, kid: str) -> None:
        """Remove a key and all that are older, in the older versions of the secret as well. Raises SigningError."""
        await self._read()
        if kid in self._keys:
            kids = list(self._keys)
            await self._write([self._keys[later] for later in kids[kids.index(kid) + 1 :]])
        # Also if it was gone: whoever removed it may have been stopped before this.
        older = list(range(max(self._version - _KEPT_VERSIONS, 1), self._version))

        def destroy(client: hvac.Client) -> Any:
            place = self._place(client)
            return client.adapter.post(f"/v1/{place.mount}/destroy/{place.rest}", json={"versions": older})

        if older:
            try:
                await self._vault.call(destroy)
            except VaultError as error:
                raise SigningError(str(error)) from None

    async def close(self) -> None:
        """Forget the keys; the connections are those of ``Vault``."""
        self._keys = {}

    async def _read(self) -> None:
        try:
            version, data = await self._vault.call(self._ask)
        except VaultError as error:
            raise SigningError(str(error)) from None
        if version < self._highest:
            self.went_back += 1
            self._keys = {}
            _log.error("the secret with the signing keys went back", path=self._path, seen=self._highest, found=version)
            raise SigningError(
                f"{self._path} went back from version {self._highest} to {version}: a backup was restored, or it was made "
                "anew; look at the keys in it, then start extauthz again"
            )
        self._highest = self._version = version
        try:
            keys = [_Key.read(written) for written in data.get("keys") or ()]
        except (KeyError, TypeError, ValueError):
            self._keys = {}
            raise SigningError(f"{self._path}: what is in it is not a list of signing keys of extauthz") from None
        keys.sort(key=lambda key: key.created)
        self._keys = {key.kid: key for key in keys}

    async def _write(self, keys: Sequence[_Key]) -> None:
        body = {"options": {"cas": self._version}, "data": {"keys": [key.written for key in keys]}}

        def ask(client: hvac.Client) -> Any:
            return client.adapter.post(f"/v1/{self._place(client).path}", json=body)

        try:
            answer = await self._vault.call(ask)
        except VaultError as error:
            if error.status == _REFUSED_WRITE and "check-and-set" in str(error):
                raise AlreadyRotatedError(f"{self._path} was written by somebody else") from None
            raise SigningError(str(error)) from None
        self._highest = self._version = int(answer["data"]["version"])
        self._keys = {key.kid: key for key in keys}

    def _ask(self, client: hvac.Client) -> tuple[int, Mapping[str, Any]]:
        """The version and the content of the secret. Of one that is deleted it is empty, but has a version still."""
        place = self._place(client)
        answer: Any = client.adapter.get(f"/v1/{place.path}", raise_exception=False)
        body = answer if isinstance(answer, dict) else answer.json()
        if not isinstance(answer, dict) and answer.status_code != _MISSING:
            client.adapter.get(f"/v1/{place.path}")  # again, for its refusal in our words
        found = body.get("data") or {}
        return int((found.get("metadata") or {}).get("version") or 0), found.get("data") or {}

    def _place(self, client: hvac.Client) -> Place:
        place = find_place(client, self._path)
        if place.engine != "kv2":
            raise VaultError(
                f"{self._path} is in an engine of type {place.engine}; signing keys need kv of version 2", 400
            )
        return place
