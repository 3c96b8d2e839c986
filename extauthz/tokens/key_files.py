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
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from extauthz.errors import AlreadyRotatedError, SigningError
from extauthz.tokens.ports import KeyVersion
from extauthz.tokens.schedule import in_order
from extauthz.tokens.signing_key import SigningKey, UnusableKeyError, generate_key, read_key

__all__ = ["FileKeyBackend"]

_log = structlog.get_logger(__name__)

_NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)\.([A-Z]{2}256|EdDSA)\.([A-Za-z0-9_-]{43})\.pem", re.ASCII)
_TIME = "%Y%m%dT%H%M%S.%f"
_MILLISECOND = 0.001
_REMOVED = "removed"
_BESIDE = ".new-"
_MAX_FILE_SIZE = 16_384
_LOCK_SECONDS = 5.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A key that was read, and what tells its file from another one."""

    stamp: _Stamp
    version: KeyVersion
    key: SigningKey


@dataclass(frozen=True, slots=True)
class _Named:
    """What the name of a key's file says."""

    created: float
    algorithm: str
    kid: str


class FileKeyBackend:
    """Keys in a folder of our own."""

    name = "files"
    rotates = True

    def __init__(self, folder: str) -> None:
        """Nothing is opened yet; the folder is made with the first key."""
        self._folder = Path(folder)
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
            raise SigningError(f"{self._folder} has no key {kid}")
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
            with _opened(self._folder) as folder:
                return self._read(folder)
        except FileNotFoundError:
            self._stored = {}
            return []
        except OSError as error:
            raise self._unreachable("read", error) from None

    def _add(self, algorithm: str, newest: str | None, created: float) -> KeyVersion:
        key = generate_key(algorithm)  # before the lock: an RSA key takes its time
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _opened(self._folder) as folder, _locked(folder, self._folder):
                versions = self._read(folder)
                last = versions[-1] if versions else None
                if (last.kid if last else None) != newest:
                    raise AlreadyRotatedError(f"{self._folder} has another newest key than {newest}")
                floor = max(last.created if last else 0.0, self._mark(folder))
                name = _name(max(_rounded(created), _rounded(floor + 1.5 * _MILLISECOND) if floor else 0.0), key)
                self._clear(folder)
                _write(folder, self._folder, name, key.pem())
                made = next((version for version in self._read(folder) if version.kid == key.kid), None)
        except OSError as error:
            raise self._unreachable("written to", error) from None
        if made is None:
            raise SigningError(f"{self._folder}: a key that was just written can't be found")
        return made

    def _remove(self, kid: str) -> None:
        try:
            with _opened(self._folder) as folder, _locked(folder, self._folder):
                versions = self._read(folder)
                doomed = next((version for version in versions if version.kid == kid), None)
                if doomed is None:
                    return
                # First it is dead, then it is gone: if this process ends in between, nobody uses what is left.
                _write(folder, self._folder, _REMOVED, f"{_written(doomed.created)} {kid}\n".encode())
                for name in _names(folder):
                    named = _named(name)
                    if named is not None and named.created <= doomed.created:
                        os.unlink(name, dir_fd=folder)
                os.fsync(folder)
                self._read(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreachable("written to", error) from None

    def _read(self, folder: int) -> list[KeyVersion]:
        """The keys of the opened folder. What was read before and has not changed is not read again."""
        _refuse_open(os.fstat(folder), self._folder, stat.S_IWGRP | stat.S_IWOTH, "chmod 700")
        mark = self._mark(folder)
        stored: dict[str, _Stored] = {}
        faults: set[str] = set()
        for name in _names(folder):
            named = _named(name)
            if named is None:
                if not name.startswith(".") and name != _REMOVED:
                    faults.add(f"{name} is not the name of a key")
            elif named.created <= mark:
                faults.add(f"{name} was destroyed and has come back; it is never used: delete it")
            else:
                try:
                    found = self._key(folder, name, named)
                except FileNotFoundError:
                    continue  # destroyed a moment ago
                except UnusableKeyError as error:
                    faults.add(f"{name} can't be used: {error}")
                else:
                    stored[found.version.kid] = found
        for fault in faults - self._told:
            _log.warning("key_files.left_out", folder=str(self._folder), fault=fault)
        self._told = frozenset(faults)
        self._stored = stored
        return in_order([found.version for found in stored.values()])

    def _key(self, folder: int, name: str, named: _Named) -> _Stored:
        try:
            # O_NONBLOCK: a pipe in the place of a file does not hold us up.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnusableKeyError("it is a symbolic link") from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnusableKeyError("it is not a regular file")
            _refuse_open(status, self._folder / name, _OTHERS, "chmod 600")
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = self._stored.get(named.kid)
            if known is not None and known.stamp == stamp:
                return known
            content = file.read(_MAX_FILE_SIZE)
        key = read_key(content, algorithm=named.algorithm)
        if key.kid != named.kid:
            raise UnusableKeyError("it holds another key than its name says")
        return _Stored(stamp, KeyVersion(key.kid, key.algorithm, named.created, key.public), key)

    def _mark(self, folder: int) -> float:
        """When the last key was made that was destroyed; 0 if none was."""
        try:
            descriptor = os.open(_REMOVED, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return 0.0
        with os.fdopen(descriptor, "rb") as file:
            written = file.read(_MAX_FILE_SIZE).decode("ascii", "replace")
        try:
            return _seconds(written.split(" ", 1)[0])
        except ValueError:
            raise SigningError(
                f"{self._folder / _REMOVED} is broken, and nobody can say which keys were destroyed; see which are not "
                "to be used, delete them and this file"
            ) from None

    def _clear(self, folder: int) -> None:
        """Remove what a process left that ended while it wrote."""
        for name in _names(folder):
            if name.startswith(_BESIDE):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _unreachable(self, verb: str, error: OSError) -> SigningError:
        return SigningError(f"{self._folder} can't be {verb}: {error.strerror}")


def _refuse_open(status: os.stat_result, path: Path, bits: int, mend: str) -> None:
    if status.st_mode & bits:
        raise SigningError(
            f"{path} is open to other users ({stat.filemode(status.st_mode)}), who may know or plant keys; if nobody did, "
            f"{mend} {path}"
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise SigningError(f"{path} belongs to another user (uid {status.st_uid}), who could change it")


def _name(created: float, key: SigningKey) -> str:
    return f"{_written(created)}.{key.algorithm}.{key.kid}.pem"


def _named(name: str) -> _Named | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return _Named(_seconds(match[1]), match[2], match[3])
    except ValueError:
        return None


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)[:-3] + "Z"


def _seconds(written: str) -> float:
    """The moment of a name. Raises ValueError."""
    return datetime.strptime(written.rstrip("\n"), _TIME + "Z").replace(tzinfo=UTC).timestamp()


def _rounded(seconds: float) -> float:
    """As a name can say it."""
    return _seconds(_written(seconds))


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: int, path: Path) -> Iterator[None]:
    """Hold the lock of the folder. It ends with the descriptor, or with the process."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise SigningError(f"{path} is locked by another process for more than {_LOCK_SECONDS:g} s") from None
            time.sleep(0.005)
    try:
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


def _write(folder: int, path: Path, name: str, content: bytes) -> None:
    """Put a file into the folder in one step, for its owner alone, so that it survives a power cut."""
    descriptor, beside = tempfile.mkstemp(dir=path, prefix=_BESIDE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(beside, name, dst_dir_fd=folder)
        os.fsync(folder)
    except BaseException:
        with suppress(OSError):
            Path(beside).unlink()
        raise
