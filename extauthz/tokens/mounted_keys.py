"""Signing keys that somebody else writes: PEM files for the current key, and the next and previous one.

Kubernetes Secrets are mounted like this, by cert-manager or a CronJob of the operator. Kubelet swaps a symbolic link, so
all files change at once and their paths stay; that is seen by what the paths lead to. A set counts only if nothing moved
while it was read, so that never a key of one version goes with one of another. Slots are what the files say, whatever the
time: whoever writes them must mount a key as ``next`` for as long as the JWK Set may be cached before it is ``current``.

Files that others may write are refused. That others may read them is only told, and not of what a kubelet has mounted
(``extauthz.tokens.readable_secrets``): nobody else is in the container.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from extauthz.errors import SigningError
from extauthz.tokens.foreign_keys import ForeignKeys, read_secret
from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.readable_secrets import Readers, readers
from extauthz.tokens.signing_key import SigningKey, UnusableKeyError, read_key

__all__ = ["MountedKeyBackend"]

_log = structlog.get_logger(__name__)

_TRIES = 3

_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Mounted:
    """A set of keys as it was read."""

    stamps: tuple[_Stamp | None, ...]
    versions: tuple[KeyVersion, ...]
    keys: Mapping[str, SigningKey]


class MountedKeyBackend(ForeignKeys):
    """Keys in files of somebody else."""

    name = "mounted"

    def __init__(
        self, current: str, *, next_key: str | None = None, previous: str | None = None, rsa_algorithm: str = "RS256"
    ) -> None:
        """Nothing is opened yet. A key's type says its algorithm; for RSA it is ``rsa_algorithm``."""
        super().__init__(current)
        paths = {"previous": previous, "current": current, "next": next_key}
        self._paths = {slot: Path(path) for slot, path in paths.items() if path is not None}
        self._rsa_algorithm = rsa_algorithm
        self._mounted: _Mounted | None = None
        self._told: frozenset[Path] = frozenset()

    async def versions(self) -> Sequence[KeyVersion]:
        """The keys, with their slots. The files of the next and the previous key may be missing.

        Raises:
            SigningError: A file can't be read, or holds no key that can be used.
        """
        return (await asyncio.to_thread(self._read)).versions

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """The JWS signature by a key that was seen at the last look."""
        key = self._mounted.keys.get(kid) if self._mounted is not None else None
        if key is None:
            raise SigningError(f"no mounted key is {kid}")
        return key.sign(signing_input)

    async def close(self) -> None:
        """Forget the keys that were read."""
        self._mounted = None

    def _read(self) -> _Mounted:
        for _ in range(_TRIES):
            stamps = self._stamps()
            if self._mounted is not None and self._mounted.stamps == stamps:
                return self._mounted
            mounted = self._load(stamps)
            if self._stamps() == stamps:
                self._mounted = mounted
                return mounted
        raise SigningError(f"{self._path} and the files beside it change while they are read")

    def _stamps(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._paths.values())

    def _load(self, stamps: tuple[_Stamp | None, ...]) -> _Mounted:
        versions: dict[str, KeyVersion] = {}
        keys: dict[str, SigningKey] = {}
        open_to_others: dict[Path, Readers] = {}
        for (slot, path), stamp in zip(self._paths.items(), stamps, strict=True):
            if stamp is None:
                if slot == "current":
                    raise SigningError(f"{path} is not there")
                continue
            content, status = read_secret(path)
            if found := readers(path, status):
                open_to_others[path] = found
            try:
                key = read_key(content, rsa_algorithm=self._rsa_algorithm)
            except UnusableKeyError as error:
                raise SigningError(f"{path} can't be used: {error}") from None
            keys[key.kid] = key
            # While files are moved on by hand one key may be in two of them; what it does is be current.
            if key.kid not in versions or slot == "current":
                versions[key.kid] = KeyVersion(key.kid, key.algorithm, status.st_mtime, key.public, slot=slot)
        for path in open_to_others.keys() - self._told:
            found = open_to_others[path]
            _log.warning("mounted_keys.readable", path=str(path), who=found.who, mode=found.mode, hint=found.mend)
        self._told = frozenset(open_to_others)
        return _Mounted(stamps, tuple(versions.values()), keys)


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SigningError(f"{path} can't be read: {error.strerror}") from None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
