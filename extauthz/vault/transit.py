"""Signing keys in Vault's Transit engine: they never leave it, and each signature is a question to Vault.

Model: one Transit key for each algorithm, ``<name>-es256`` and so on, since a Transit key is of one kind for good; each
rotation makes a version of it. A ``kid`` names the version and the public key, ``extauthz-es256-v3-<thumbprint>``: another
Vault, or a key that was deleted and made again, never gives a known ``kid`` to another key.

What Vault signed is verified before it is given away, so neither another version nor a key made anew behind our back can
sign for the one that was meant. What operators do there (rotate, raise ``min_decryption_version``, delete) is seen at the
next ``versions``. Transit can't compare and swap: ``add`` reads, compares and rotates, and whoever calls it holds a claim in
the store, so that no two replicas do so at a time.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import hvac

from extauthz.errors import AlreadyRotatedError, SigningError, VaultError
from extauthz.tokens.ports import KeyVersion
from extauthz.vault.calls import Vault
from extauthz.vault.jose import PublicKey

__all__ = ["TransitKeys"]

_T = TypeVar("_T")
_TYPES: Final = {"ES256": "ecdsa-p256", "EdDSA": "ed25519", "RS256": "rsa-3072", "PS256": "rsa-3072"}
_KINDS: Final = {
    "ES256": ("ecdsa-p256",),
    "EdDSA": ("ed25519",),
    "RS256": ("rsa-2048", "rsa-3072", "rsa-4096"),
    "PS256": ("rsa-2048", "rsa-3072", "rsa-4096"),
}
"""Transit's word for the key that is made, and for those of operators that can be used."""
_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "ES256": {"hash_algorithm": "sha2-256"},
    "EdDSA": {},
    "RS256": {"hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15"},
    "PS256": {"hash_algorithm": "sha2-256", "signature_algorithm": "pss", "salt_length": "hash"},
}
_MISSING = 404


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of one Transit key."""

    name: str
    number: int
    public: PublicKey
    created: float

    @property
    def kid(self) -> str:
        return f"{self.name}-v{self.number}-{self.public.thumbprint[:16]}"

    @property
    def told(self) -> KeyVersion:
        kid = self.kid
        return KeyVersion(kid, self.public.algorithm, self.created, self.public.jwk(kid), None)


class TransitKeys:
    """Implements ``extauthz.tokens.ports.KeyBackend``."""

    name = "transit"
    rotates = True

    def __init__(self, vault: Vault, key: str, *, mount: str = "transit") -> None:
        """``key`` is what the names of the Transit keys begin with."""
        self._vault = vault
        self._key = key
        self._mount = mount.strip("/")
        self._known: dict[str, _Version] = {}

    async def versions(self) -> Sequence[KeyVersion]:
        """All keys that there are, oldest first. Raises SigningError."""
        return [version.told for version in await self._read_all()]

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """A signature by a key and no other. Raises SigningError."""
        version = self._known.get(kid)
        if version is None:
            await self._read_all()
            version = self._known.get(kid)
            if version is None:
                raise SigningError(f"Transit has no key {kid!r} that may sign")
        signature = await self._ask(lambda client: self._signature(client, version, signing_input))
        if not version.public.verifies(signing_input, signature):
            self._known.clear()
            raise SigningError(f"what Transit signed is not by {kid!r}: the key was replaced, or another one answered")
        return signature

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:  # noqa: ARG002 - Transit dates keys itself
        """Make a key if ``newest`` still names the newest one. Raises SigningError, AlreadyRotatedError among them."""
        if algorithm not in _TYPES:
            raise SigningError(f"Transit makes no keys for {algorithm}; it does for {', '.join(_TYPES)}")
        versions = await self._read_all()
        last = versions[-1].kid if versions else None
        if last != newest:
            raise AlreadyRotatedError(f"the newest key is {last!r}, not {newest!r}")
        name = self._named(algorithm)
        if any(version.name == name for version in versions):
            await self._ask(lambda client: _post(client, f"{self._mount}/keys/{name}/rotate"))
        else:
            # If it is there by now, or has versions that may not be used any more, this changes nothing.
            await self._ask(lambda client: _post(client, f"{self._mount}/keys/{name}", type=_TYPES[algorithm]))
        made = [version for version in await self._read_all() if version.name == name]
        if not made:
            raise SigningError(
                f"Transit has made no key {name}: it was retired there, and only an operator can bring it back"
            )
        return max(made, key=lambda version: version.number).told

    async def remove(self, kid: str) -> None:
        """End a version and all that are older, if a newer one is there. Raises SigningError."""
        await self._read_all()
        doomed = self._known.get(kid)
        if doomed is None:
            return
        known = self._known.values()
        if any(version.name == doomed.name and version.number > doomed.number for version in known):
            await self._raise_least(doomed.name, doomed.number + 1)
        elif any(version.created > doomed.created for version in known):
            await self._retire(doomed.name)
        else:
            raise SigningError(f"{kid!r} is the newest key: make another one before it is removed")
        await self._read_all()

    async def close(self) -> None:
        """Nothing is held here; the connections are those of ``Vault``."""

    async def _raise_least(self, name: str, least: int) -> None:
        """No version below ``least`` signs or is given out any more."""
        settings = {"min_decryption_version": least}

        def ask(client: hvac.Client) -> Any:
            data = _get(client, f"{self._mount}/keys/{name}")
            if 0 < int(data["min_encryption_version"]) < least:
                # It may never be below the other one.
                settings["min_encryption_version"] = least
            return client.adapter.post(f"/v1/{self._mount}/keys/{name}/config", json=settings)

        await self._ask(ask)

    async def _retire(self, name: str) -> None:
        """End the last version of an algorithm that is not used any more."""
        try:
            await self._vault.call(lambda client: client.adapter.delete(f"/v1/{self._mount}/keys/{name}/soft-delete"))
        except VaultError as error:
            raise SigningError(
                f"the Transit key {name} has no newer version, and this Vault can't retire it ({error}): destroy it there, "
                f"with deletion_allowed=true in {self._mount}/keys/{name}/config and a delete of {self._mount}/keys/{name}"
            ) from None

    async def _read_all(self) -> list[_Version]:
        """All versions of all algorithms, oldest first."""
        found = await asyncio.gather(*(self._read(algorithm) for algorithm in _TYPES))
        versions = [version for some in found for version in some]
        versions.sort(key=lambda version: (version.created, version.name, version.number))
        self._known = {version.kid: version for version in versions}
        return versions

    async def _read(self, algorithm: str) -> list[_Version]:
        """The versions for an algorithm that may still be used."""
        name = self._named(algorithm)
        try:
            data = await self._vault.call(lambda client: _get(client, f"{self._mount}/keys/{name}"))
        except VaultError as error:
            if error.status == _MISSING:
                return []
            raise SigningError(str(error)) from None
        if data.get("soft_deleted"):
            return []
        if data["type"] not in _KINDS[algorithm]:
            raise SigningError(
                f"the Transit key {name} is {data['type']}, and {algorithm} needs {_KINDS[algorithm][0]}"
            )
        least = int(data["min_decryption_version"])
        try:
            return [
                _Version(name, int(number), PublicKey.read(algorithm, _public(key)), _time(key["creation_time"]))
                for number, key in data["keys"].items()
                if int(number) >= least
            ]
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise SigningError(f"what Transit says of the key {name} can't be read") from None

    def _signature(self, client: hvac.Client, version: _Version, signing_input: bytes) -> bytes:
        answer: Any = client.adapter.post(
            f"/v1/{self._mount}/sign/{version.name}",
            json={
                "input": base64.b64encode(signing_input).decode(),
                "key_version": version.number,
                "marshaling_algorithm": "jws",
                **_OPTIONS[version.public.algorithm],
            },
        )
        # vault:v3:<base64url>
        _, _, text = str(answer["data"]["signature"]).rpartition(":")
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def _named(self, algorithm: str) -> str:
        return f"{self._key}-{algorithm.lower()}"

    async def _ask(self, question: Callable[[hvac.Client], _T]) -> _T:
        try:
            return await self._vault.call(question)
        except VaultError as error:
            raise SigningError(str(error)) from None


def _get(client: hvac.Client, path: str) -> Any:
    answer: Any = client.adapter.get(f"/v1/{path}")
    return answer["data"]


def _post(client: hvac.Client, path: str, **parameters: str) -> Any:
    return client.adapter.post(f"/v1/{path}", json=parameters)


def _public(key: Mapping[str, Any]) -> bytes:
    """PEM, or for Ed25519 the bytes that Transit gives in base64."""
    text = str(key["public_key"])
    return text.encode() if text.startswith("-----") else base64.b64decode(text, validate=True)


def _time(text: str) -> float:
    """Seconds since the epoch, of RFC 3339 with nanoseconds."""
    return datetime.fromisoformat(text).timestamp()
