"""A folder of secrets: who may touch it, what the names in it say, and how a file gets into it in one step.

Everything goes through the folder as it was opened, so that a path that is swapped meanwhile leads nobody elsewhere. All
methods block on files.
"""

import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from extauthz.errors import SigningError

__all__ = ["KeyFolder", "KeyName", "later", "opened", "read_key_name", "read_moment", "refuse_open", "written_moment"]

_NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)\.([A-Z]{2}256|EdDSA)\.([A-Za-z0-9_-]{43})\.pem", re.ASCII)
_TIME = "%Y%m%dT%H%M%S.%f"
_BESIDE = ".new-"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LOCK_SECONDS = 5.0
_LOCK_PAUSE = 0.005


@dataclass(frozen=True, slots=True)
class KeyName:
    """What the name of a key's file says."""

    created: float
    """Seconds since the epoch, to the millisecond."""
    algorithm: str
    kid: str

    def __str__(self) -> str:
        """The name."""
        return f"{written_moment(self.created)}.{self.algorithm}.{self.kid}.pem"


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """An opened folder."""

    path: Path
    descriptor: int

    def names(self) -> list[str]:
        """What is in it, sorted."""
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def open(self, name: str) -> int:
        """Open a file to be read, and nothing that a name could lead elsewhere with. Raises OSError."""
        # O_NONBLOCK: a pipe in the place of a file does not hold us up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=self.descriptor)

    def write(self, name: str, content: bytes) -> None:
        """Put a file into it in one step, for its owner alone, so that it survives a power cut."""
        beside = _BESIDE + secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(beside, flags, mode=0o600, dir_fd=self.descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.rename(beside, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            os.fsync(self.descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=self.descriptor)
            raise

    def unlink(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def clear(self) -> None:
        """Remove what a process left that ended while it wrote. Under the lock."""
        for name in self.names():
            if name.startswith(_BESIDE):
                self.unlink(name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder. It ends with the process at the latest.

        Raises:
            SigningError: Somebody else holds it for too long.
        """
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SigningError(
                        f"{self.path} is locked by another process for over {_LOCK_SECONDS:g} s"
                    ) from None
                time.sleep(_LOCK_PAUSE)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)


@contextmanager
def opened(path: Path) -> Iterator[KeyFolder]:
    """Open a folder into which nobody else can put keys.

    Raises:
        SigningError: Others can.
        OSError: It can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        refuse_open(os.fstat(descriptor), path, _OTHERS_WRITE, "chmod 700")
        yield KeyFolder(path, descriptor)
    finally:
        os.close(descriptor)


def refuse_open(status: os.stat_result, path: Path, bits: int, mend: str) -> None:
    """Raise SigningError if others have these rights, or own it."""
    if status.st_mode & bits:
        mode = stat.filemode(status.st_mode)
        raise SigningError(
            f"{path} is open to other users ({mode}), who may know or plant keys; if nobody did, {mend} {path}"
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise SigningError(f"{path} belongs to another user (uid {status.st_uid}), who could change it")


def read_key_name(name: str) -> KeyName | None:
    """What a name says; None if it is not that of a key."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return KeyName(read_moment(match[1]), match[2], match[3])
    except ValueError:
        return None


def written_moment(seconds: float) -> str:
    """A moment as names have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)[:-3] + "Z"


def read_moment(text: str) -> float:
    """The moment that a name has, in seconds since the epoch. Raises ValueError."""
    return datetime.strptime(text, _TIME + "Z").replace(tzinfo=UTC).timestamp()


def later(seconds: float, floor: float) -> float:
    """A moment as names can say it, after another one that they have said; ``floor`` 0: after none."""
    rounded = read_moment(written_moment(seconds))
    return max(rounded, read_moment(written_moment(floor + 0.0015))) if floor else rounded
