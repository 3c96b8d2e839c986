"""Secrets as files, for all that reads its secrets from files: in memory, for this process alone, gone when it is.

The folder is in ``/dev/shm`` (elsewhere among temporary files, which is said), of mode 0700, the files of mode 0600. The
fields of one secret change together: they are behind a link that is swapped, as Kubernetes does it for mounted Secrets, so
whoever follows those follows these. A process that was killed leaves its folder; the next one removes it, and knows by a
lock that nobody lives in it.
"""

import atexit
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

__all__ = ["SecretFiles"]

_log = structlog.get_logger()

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder that is made in it belongs to us alone
_PREFIX: Final = "extauthz-secrets-"
_NEW: Final = "extauthz-new-"
_LOCK: Final = "lock"
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class SecretFiles:
    """The files of one process."""

    def __init__(self, parent: Path | None = None) -> None:
        """Nothing is written yet. ``parent`` is where the folder will be made."""
        self._parent = parent
        self._folder: Path | None = None
        self._lock = -1
        self._versions: dict[str, int] = {}

    def path(self, secret: str, field: str) -> str:
        """Where a field of a secret is, once it is written."""
        return str(self._of(secret) / _name(field))

    def write(self, secret: str, fields: Mapping[str, bytes]) -> None:
        """Write these fields of a secret, and none other, in one step. Blocks. Raises OSError."""
        folder = self._of(secret)
        folder.mkdir(mode=0o700, exist_ok=True)
        version = self._versions.get(secret, 0) + 1
        data = folder / f"..v{version}"
        data.mkdir(mode=0o700)
        for field, content in fields.items():
            descriptor = os.open(data / _name(field), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        _link(folder / "..data", data.name)
        for field in fields:
            if not (folder / _name(field)).is_symlink():
                _link(folder / _name(field), f"..data/{_name(field)}")
        self._versions[secret] = version
        shutil.rmtree(folder / f"..v{version - 1}", ignore_errors=True)

    def remove(self, secret: str) -> None:
        """Remove all files of a secret."""
        if self._versions.pop(secret, None) is not None:
            shutil.rmtree(self._of(secret), ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._folder = None
            atexit.unregister(self.close)

    def _of(self, secret: str) -> Path:
        return self._root() / hashlib.sha256(secret.encode()).hexdigest()[:16]

    def _root(self) -> Path:
        if self._folder is None:
            parent = self._parent or _parent()
            for left in _abandoned(parent):
                shutil.rmtree(left, ignore_errors=True)
            made = Path(tempfile.mkdtemp(prefix=_NEW, dir=parent))
            self._lock = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Only now can it be taken for an abandoned one.
            self._folder = made.rename(parent / made.name.replace(_NEW, _PREFIX, 1))
            atexit.register(self.close)
        return self._folder


def _parent() -> Path:
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        return _MEMORY
    place = Path(tempfile.gettempdir())
    _log.warning("there is no /dev/shm: secrets that are wanted as files are written to a disk", folder=str(place))
    return place


def _abandoned(parent: Path) -> Iterator[Path]:
    """Folders of this user in which no process lives any more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
            finally:
                os.close(descriptor)


def _link(path: Path, target: str) -> None:
    """Make a link, or lead it elsewhere, in one step."""
    fresh = path.with_name(f"..new-{path.name}")
    fresh.symlink_to(target)
    fresh.replace(path)


def _name(field: str) -> str:
    """A file name for a field; what could lead elsewhere is digested."""
    return field if _PLAIN.match(field) else hashlib.sha256(field.encode()).hexdigest()[:16]
