"""Signing keys in Vault's Transit engine: they never leave it, and each signature is a question to Vault.

Model: one Transit key for each algorithm, ``<name>-es256`` and so on, since a Transit key is of one kind for good; each
rotation makes a version of it. A ``kid`` names the version and the public key, ``extauthz-es256-v3-<thumbprint>``: another
Vault, or a key that was deleted and made again, never gives a known ``kid`` to another key.

What Vault signed is verified before it is given away (``extauthz.tokens.signatures``), so neither another version nor a key
made anew behind our back can sign for the one that was meant. What operators do there (rotate, raise ``min_decryption_version``, delete) is seen at the
next ``versions``.

A version ends by a ``min_decryption_version`` above it. So that the last one can end too, one more is made that is never used:
a version at which ``min_decryption_version`` and ``min_encryption_version`` both stand, above 1, is a tombstone. Transit can't compare and swap: ``add`` reads, compares and rotates, and whoever calls it holds a claim in
the store, so that no two replicas do so at a time.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import hvac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from extauthz.errors import AlreadyRotatedError, SigningError, VaultError
from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.public_key import PublicKey, jwk_of, thumbprint
from extauthz.vault.calls import Vault

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
    told: KeyVersion

    @classmethod
    def read(cls, name: str, number: int, algorithm: str, key: Mapping[str, Any]) -> "_Version":
        """Read what Transit says of it. Raises KeyError, TypeError, ValueError."""
        public = _public(str(key["public_key"]))
        kid = f"{name}-v{number}-{thumbprint(jwk_of(public, algorithm))[:16]}"
        created = datetime.fromisoformat(key["creation_time"]).timestamp()
        return cls(name, number, KeyVersion(kid, algorithm, created, jwk_of(public, algorithm, kid)))


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
        """What Vault signs with a version; whoever asks looks whose signature it is. Raises SigningError."""
        version = self._known.get(kid)
        if version is None:
            await self._read_all()
            version = self._known.get(kid)
            if version is None:
                raise SigningError(f"Transit has no key {kid!r} that may sign")
        return await self._ask(lambda client: self._signature(client, version, signing_input))

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:  # noqa: ARG002 - Transit dates keys itself
        """Make a key if ``newest`` still names the newest one. Raises SigningError, AlreadyRotatedError among them."""
        if algorithm not in _TYPES:
            raise SigningError(f"Transit makes no keys for {algorithm}; it does for {', '.join(_TYPES)}")
        versions = await self._read_all()
        last = versions[-1].told.kid if versions else None
        if last != newest:
            raise AlreadyRotatedError(f"the newest key is {last!r}, not {newest!r}")
        name = self._named(algorithm)
        before = await self._details(algorithm)
        if before is None:
            # If somebody else made it just now, this changes nothing.
            await self._ask(lambda client: _post(client, f"{self._mount}/keys/{name}", type=_TYPES[algorithm]))
        else:
            await self._ask(lambda client: _post(client, f"{self._mount}/keys/{name}/rotate"))
        made = [version for version in await self._read_all() if version.name == name]
        if not made:
            raise SigningError(f"Transit has made no version of the key {name} that may sign")
        return max(made, key=lambda version: version.number).told

    async def remove(self, kid: str) -> None:
        """End a version and all keys that are older, of whatever algorithm. Raises SigningError."""
        versions = await self._read_all()
        doomed = self._known.get(kid)
        if doomed is None:
            return
        ends: dict[str, int] = {}
        for version in versions[: versions.index(doomed) + 1]:
            ends[version.name] = max(version.number, ends.get(version.name, 0))
        for name, number in ends.items():
            newer = any(version.name == name and version.number > number for version in versions)
            await self._end(name, number, newer=newer)
        await self._read_all()

    async def close(self) -> None:
        """Nothing is held here; the connections are those of ``Vault``."""

    async def _end(self, name: str, number: int, *, newer: bool) -> None:
        """End a version and those before it; if there is no ``newer`` one, with a tombstone after it."""
        path = f"{self._mount}/keys/{name}"

        def ask(client: hvac.Client) -> Any:
            # 0 stands for no limit. Any other must not be below min_decryption_version, and would make a tombstone of it.
            settings = {"min_encryption_version": 0, "min_decryption_version": number + 1}
            if not newer:
                latest = int(_post(client, f"{path}/rotate")["data"]["latest_version"])
                settings = {"min_encryption_version": latest, "min_decryption_version": latest}
            return client.adapter.post(f"/v1/{path}/config", json=settings)

        await self._ask(ask)

    async def _read_all(self) -> list[_Version]:
        """All versions of all algorithms, oldest first."""
        found = await asyncio.gather(*(self._read(algorithm) for algorithm in _TYPES))
        versions = [version for some in found for version in some]
        versions.sort(key=lambda version: (version.told.created, version.name, version.number))
        self._known = {version.told.kid: version for version in versions}
        return versions

    async def _read(self, algorithm: str) -> list[_Version]:
        """The versions for an algorithm that may still be used."""
        data = await self._details(algorithm)
        if data is None or data.get("soft_deleted"):
            return []
        name = self._named(algorithm)
        if data["type"] not in _KINDS[algorithm]:
            raise SigningError(
                f"the Transit key {name} is {data['type']}, and {algorithm} needs {_KINDS[algorithm][0]}"
            )
        try:
            least, grave = int(data["min_decryption_version"]), int(data["min_encryption_version"])
            return [
                _Version.read(name, int(number), algorithm, key)
                for number, key in data["keys"].items()
                if int(number) >= least and not (int(number) == least == grave > 1)
            ]
        except (KeyError, TypeError, ValueError):
            raise SigningError(f"what Transit says of the key {name} can't be read") from None

    async def _details(self, algorithm: str) -> Mapping[str, Any] | None:
        """What Transit says of the key for an algorithm; None if there is none."""
        path = f"{self._mount}/keys/{self._named(algorithm)}"
        try:
            found: Mapping[str, Any] = await self._vault.call(lambda client: _get(client, path))
        except VaultError as error:
            if error.status == _MISSING:
                return None
            raise SigningError(str(error)) from None
        return found

    def _signature(self, client: hvac.Client, version: _Version, signing_input: bytes) -> bytes:
        answer: Any = client.adapter.post(
            f"/v1/{self._mount}/sign/{version.name}",
            json={
                "input": base64.b64encode(signing_input).decode(),
                "key_version": version.number,
                "marshaling_algorithm": "jws",
                **_OPTIONS[version.told.algorithm],
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


def _public(text: str) -> PublicKey:
    """A key in PEM, or for Ed25519 its bytes in base64. Raises ValueError."""
    if not text.startswith("-----"):
        return ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    key = load_pem_public_key(text.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        message = "it is of another kind"
        raise ValueError(message)  # noqa: TRY004 - what Transit says is a value
    return key
