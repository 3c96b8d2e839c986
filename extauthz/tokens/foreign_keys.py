"""Keys that somebody else writes: what their backends have in common, and how their files are read."""

import os
import stat
from pathlib import Path

from extauthz.errors import SigningError
from extauthz.tokens.ports import KeyVersion

__all__ = ["ForeignKeys", "read_secret"]

_MAX_FILE_SIZE = 16_384


class ForeignKeys:
    """A backend that makes and destroys no key."""

    rotates = False

    def __init__(self, path: str) -> None:
        """``path`` is what a person has to replace."""
        self._path = Path(path)

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:  # noqa: ARG002
        """Never."""
        raise self._refusal()

    async def remove(self, kid: str) -> None:  # noqa: ARG002
        """Never."""
        raise self._refusal()

    def _refusal(self) -> SigningError:
        return SigningError(f"{self._path} is written by somebody else, who has to replace the key in it")


def read_secret(path: Path) -> tuple[bytes, os.stat_result]:
    """The content of a file that holds a secret, and its status.

    Raises:
        SigningError: It can't be read, or anybody may write it.
    """
    try:
        # O_NONBLOCK: a pipe in the place of a file does not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SigningError(f"{path} is not a regular file")
            if status.st_mode & stat.S_IWOTH:
                mode = stat.filemode(status.st_mode)
                raise SigningError(f"{path} can be written by anybody ({mode}); see who did, then chmod 400 {path}")
            return file.read(_MAX_FILE_SIZE), status
    except OSError as error:
        raise SigningError(f"{path} can't be read: {error.strerror}") from None
