"""The secret of an audit log, in a file of its own: made at the first use, readable for its owner alone.

It belongs to another place than the log, or to another owner: who has both can write a log that verifies.
"""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from extauthz.errors import AuditError
from extauthz.telemetry.audit_lines import AuditKey

__all__ = ["audit_key"]

_BYTES = 32
_MOST = 4096


def audit_key(path: str, *, make: bool) -> AuditKey:
    """The key in a file; with ``make`` it is made if there is none.

    Raises:
        AuditError: There is none, it can't be read, is too short, or others may read it.
    """
    file = Path(path)
    try:
        if make and not file.exists():
            _make(file)
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            secret = opened.read(_MOST).strip()
    except OSError as error:
        raise AuditError(f"the key of the audit log, {path}: {error.strerror}") from None
    if mode & stat.S_IRWXO:
        raise AuditError(f"the key of the audit log, {path}: every user may read or change it (chmod o-rwx {path})")
    if len(secret) < _BYTES:
        raise AuditError(f"the key of the audit log, {path}: shorter than {_BYTES} bytes (openssl rand -hex 32)")
    return AuditKey.of(secret)


def _make(file: Path) -> None:
    """Make the file whole or not at all; of several processes at a time one makes it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_hex(_BYTES) + "\n")
            opened.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()
