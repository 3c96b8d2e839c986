"""Signing keys in a folder that extauthz keeps: one PEM a key, and a command and any number of processes that agree.

::

    signing-keys/                                           0700
      20261126T180700.123Z.ES256.<kid>.pem                  0600, PKCS#8; when it was made, for what, its thumbprint
      removed                                               the last key that was destroyed: it and all before it are dead

A key is whole or not there: it is written beside, synced, and renamed. A lock on the folder makes writers wait for each
other and a comparison under it lets one of them win. What was destroyed stays so even if a backup brings its file back:
``removed`` says how far destruction has come, and what is older is never read again.

A file that others may read or write stops everything, since its key may be known; it takes a person to say what happened.
A file that is no key is told and left out: its key can't be used anyway. All file access is in threads.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from extauthz.errors import AlreadyRotatedError, SigningError
from extauthz.tokens.key_folder import (
    KeyFolder,
    KeyName,
    later,
    opened,
    read_key_name,
    read_moment,
    refuse_open,
    written_moment,
)
from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.schedule import in_order
from extauthz.tokens.signing_key import SigningKey, UnusableKeyError, generate_key, read_key

__all__ = ["FileKeyBackend"]

_log = structlog.get_logger(__name__)

_REMOVED = "removed"
_MAX_FILE_SIZE = 16_384
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A key that was read, and what tells its file from another one."""

    stamp: _Stamp
    version: KeyVersion
    key: SigningKey


class FileKeyBackend:
    """Keys in a folder of our own."""

    name = "files"
    rotates = True

    def __init__(self, folder: str) -> None:
        """Nothing is opened yet; the folder is made with the first key."""
        self._path = Path(folder)
        self._stored: dict[str, _Stored] = {}
        self._told: frozenset[str] = frozenset()

    async def versions(self) -> Sequence[KeyVersion]:
        """All keys that can be used and were not destroyed, oldest first.

        Raises:
            SigningError: The folder or a key in it can't be read, or is open to others.
        """
        return await asyncio.to_thread(self._versions)

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """The JWS signature by a key that was seen at the last look."""
        stored = self._stored.get(kid)
        if stored is None:
            raise SigningError(f"{self._path} has no key {kid}")
        return stored.key.sign(signing_input)

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:
        """Make a key if ``newest`` still names the newest one.

        Raises:
            AlreadyRotatedError: It does not.
            SigningError: The folder can't be written to.
        """
        return await asyncio.to_thread(self._add, algorithm, newest, created)

    async def remove(self, kid: str) -> None:
        """Destroy a key and all that are older. One that is not there was destroyed before."""
        await asyncio.to_thread(self._remove, kid)

    async def close(self) -> None:
        """Forget the keys that were read."""
        self._stored = {}

    # ---------------------------------------------------------------------------------------------------- in threads

    def _versions(self) -> list[KeyVersion]:
        try:
            with opened(self._path) as folder:
                return self._read(folder)
        except FileNotFoundError:
            self._stored = {}
            return []
        except OSError as error:
            raise self._unreachable("read", error) from None

    def _add(self, algorithm: str, newest: str | None, created: float) -> KeyVersion:
        key = generate_key(algorithm)  # before the lock: an RSA key takes its time
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with opened(self._path) as folder, folder.locked():
                versions = self._read(folder)
                last = versions[-1] if versions else None
                if (last.kid if last else None) != newest:
                    raise AlreadyRotatedError(f"{self._path} has another newest key than {newest}")
                floor = max(last.created if last else 0.0, _mark(folder))
                folder.clear()
                folder.write(str(KeyName(later(created, floor), algorithm, key.kid)), key.pem())
                made = next((version for version in self._read(folder) if version.kid == key.kid), None)
        except OSError as error:
            raise self._unreachable("written to", error) from None
        if made is None:
            raise SigningError(f"{self._path}: a key that was just written can't be found")
        return made

    def _remove(self, kid: str) -> None:
        try:
            with opened(self._path) as folder, folder.locked():
                doomed = next((version for version in self._read(folder) if version.kid == kid), None)
                if doomed is None:
                    return
                # First it is dead, then it is gone: if this process ends in between, nobody uses what is left.
                folder.write(_REMOVED, f"{written_moment(doomed.created)} {kid}\n".encode())
                for name in folder.names():
                    named = read_key_name(name)
                    if named is not None and named.created <= doomed.created:
                        folder.unlink(name)
                os.fsync(folder.descriptor)
                self._read(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreachable("written to", error) from None

    def _read(self, folder: KeyFolder) -> list[KeyVersion]:
        """The keys of a folder. What was read before and has not changed is not read again."""
        mark = _mark(folder)
        stored: dict[str, _Stored] = {}
        faults: set[str] = set()
        for name in folder.names():
            named = read_key_name(name)
            if named is None:
                if not name.startswith(".") and name != _REMOVED:
                    faults.add(f"{name} is not the name of a key")
            elif named.created <= mark:
                faults.add(f"{name} was destroyed and has come back; it is never used: delete it")
            else:
                try:
                    stored[named.kid] = self._key(folder, named)
                except FileNotFoundError:
                    continue  # destroyed a moment ago
                except UnusableKeyError as error:
                    faults.add(f"{name} can't be used: {error}")
        for fault in faults - self._told:
            _log.warning("key_files.left_out", folder=str(self._path), fault=fault)
        self._told = frozenset(faults)
        self._stored = stored
        return in_order([found.version for found in stored.values()])

    def _key(self, folder: KeyFolder, named: KeyName) -> _Stored:
        try:
            descriptor = folder.open(str(named))
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnusableKeyError("it is a symbolic link") from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnusableKeyError("it is not a regular file")
            refuse_open(status, self._path / str(named), _OTHERS, "chmod 600")
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = self._stored.get(named.kid)
            if known is not None and known.stamp == stamp and known.version.created == named.created:
                return known
            content = file.read(_MAX_FILE_SIZE)
        key = read_key(content, algorithm=named.algorithm)
        if key.kid != named.kid:
            raise UnusableKeyError("it holds another key than its name says")
        return _Stored(stamp, KeyVersion(key.kid, key.algorithm, named.created, key.public), key)

    def _unreachable(self, verb: str, error: OSError) -> SigningError:
        return SigningError(f"{self._path} can't be {verb}: {error.strerror}")


def _mark(folder: KeyFolder) -> float:
    """When the last key was made that was destroyed; 0 if none was."""
    try:
        descriptor = folder.open(_REMOVED)
    except FileNotFoundError:
        return 0.0
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(_MAX_FILE_SIZE).decode("ascii", "replace")
    try:
        return read_moment(text.partition(" ")[0])
    except ValueError:
        raise SigningError(
            f"{folder.path / _REMOVED} is broken, and nobody can say which keys were destroyed; delete those that are not "
            "to be used, and this file"
        ) from None
