"""Signing keys in one secret of Vault's key-value engine (version 2), and signatures made here with them.

For Vaults without Transit, and for more signatures than Vault should be asked for: the private keys leave Vault, and are in
this process's memory. Each change is a write of the whole secret that Vault takes only if nobody else has written since
(check-and-set), so of two replicas that rotate at a time one does.

The version of the secret only ever grows. If it is lower than one that was seen, a backup was restored or the secret was
made anew, and keys that were removed may be in it again: then nothing is signed until a person has looked and starts
extauthz again, or the version has passed the one that was seen.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hvac
import structlog

from extauthz.errors import AlreadyRotatedError, KeysWentBackError, SigningError, VaultError
from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.public_key import ALGORITHMS
from extauthz.tokens.signing_key import SigningKey, UnusableKeyError, generate_key, read_key
from extauthz.vault.calls import Vault
from extauthz.vault.secrets import Place, find_place

__all__ = ["KvKeys"]

_log = structlog.get_logger()

_MISSING = 404
_REFUSED_WRITE = 400
_STEP = 0.001
"""Seconds between two keys, at least."""
_KEPT_VERSIONS = 100
"""Vault keeps ten versions of a secret unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A key, and when it was made."""

    created: float
    key: SigningKey

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> "_Stored":
        """Read what is in the secret. Raises KeyError, TypeError, ValueError, UnusableKeyError."""
        key = read_key(str(written["privateKey"]).encode(), algorithm=str(written["algorithm"]))
        if written["kid"] != key.kid:
            raise UnusableKeyError("it has another key's name")
        return cls(float(written["created"]), key)

    @property
    def written(self) -> dict[str, Any]:
        key = self.key
        return {"kid": key.kid, "algorithm": key.algorithm, "created": self.created, "privateKey": key.pem().decode()}

    @property
    def told(self) -> KeyVersion:
        return KeyVersion(self.key.kid, self.key.algorithm, self.created, self.key.public)


class KvKeys:
    """Implements ``extauthz.tokens.ports.KeyBackend``."""

    name = "kv"
    rotates = True

    def __init__(self, vault: Vault, path: str) -> None:
        """``path`` is the secret, which may not be there yet."""
        self._vault = vault
        self._path = path
        self._keys: dict[str, _Stored] = {}
        self._removed = 0.0
        """When the last key was made that was removed: it and all before it are never used again."""
        self._version = 0
        self._highest = 0

    async def versions(self) -> Sequence[KeyVersion]:
        """All keys that there are, oldest first. Raises SigningError."""
        await self._read()
        return [stored.told for stored in self._keys.values()]

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """A signature by a key. Raises SigningError."""
        if kid not in self._keys:
            await self._read()
        stored = self._keys.get(kid)
        if stored is None:
            raise SigningError(f"{self._path} has no key {kid!r}")
        return stored.key.sign(signing_input)

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:
        """Make a key if ``newest`` still names the newest one. Raises SigningError, AlreadyRotatedError among them."""
        if algorithm not in ALGORITHMS:
            raise SigningError(f"keys for {algorithm} are not made here; they are for {', '.join(ALGORITHMS)}")
        key = await asyncio.to_thread(generate_key, algorithm)
        await self._read()
        last = next(reversed(self._keys.values()), None)
        if (last.key.kid if last else None) != newest:
            raise AlreadyRotatedError(f"{self._path} has another newest key than {newest}")
        floor = max(last.created if last else 0.0, self._removed)
        stored = _Stored(max(created, floor + _STEP), key)
        await self._write([*self._keys.values(), stored], self._removed)
        return stored.told

    async def remove(self, kid: str) -> None:
        """Remove a key and all that are older, in the older versions of the secret as well. Raises SigningError."""
        await self._read()
        if kid in self._keys:
            removed = self._keys[kid].created
            await self._write([stored for stored in self._keys.values() if stored.created > removed], removed)
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
            self._keys = {}
            _log.error("the secret with the signing keys went back", path=self._path, seen=self._highest, found=version)
            raise KeysWentBackError(
                f"{self._path} went back from version {self._highest} to {version}: a backup was restored, or it was made "
                "anew; look at the keys in it, then start extauthz again"
            )
        self._highest = self._version = version
        try:
            removed = float(data.get("removed") or 0)
            found = [_Stored.read(written) for written in data.get("keys") or ()]
        except (KeyError, TypeError, ValueError, UnusableKeyError):
            self._keys = {}
            raise SigningError(f"{self._path}: what is in it is not a list of signing keys of extauthz") from None
        self._take([stored for stored in found if stored.created > removed], removed)

    async def _write(self, keys: Sequence[_Stored], removed: float) -> None:
        content = {"keys": [stored.written for stored in keys], "removed": removed}
        body = {"options": {"cas": self._version}, "data": content}

        def ask(client: hvac.Client) -> Any:
            return client.adapter.post(f"/v1/{self._place(client).path}", json=body)

        try:
            answer = await self._vault.call(ask)
        except VaultError as error:
            if error.status == _REFUSED_WRITE and "check-and-set" in str(error):
                raise AlreadyRotatedError(f"{self._path} was written by somebody else") from None
            raise SigningError(str(error)) from None
        self._highest = self._version = int(answer["data"]["version"])
        self._take(keys, removed)

    def _take(self, keys: Sequence[_Stored], removed: float) -> None:
        ordered = sorted(keys, key=lambda stored: (stored.created, stored.key.kid))
        self._keys = {stored.key.kid: stored for stored in ordered}
        self._removed = removed

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
