"""The files of secrets that more people may read than should, for ``validate`` and for the log of a start."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from extauthz.config import Config, secret_paths
from extauthz.tokens.readable_secrets import Readers, readers

__all__ = ["OpenSecret", "open_secrets", "tell_open_secrets"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenSecret:
    """A file that holds a secret, and who may read it."""

    setting: str
    path: str
    readers: Readers


def open_secrets(config: Config) -> Iterator[OpenSecret]:
    """Those that are there. Nothing is opened; what can't be looked at is told by whoever reads it."""
    told = set[str]()
    for setting, path in secret_paths(config):
        try:
            status = Path(path).stat()
        except OSError:
            continue
        found = readers(Path(path), status) if stat.S_ISREG(status.st_mode) else None
        if found is not None and path not in told:
            told.add(path)
            yield OpenSecret(setting, path, found)


def tell_open_secrets(config: Config) -> None:
    """A line of the log for each."""
    for one in open_secrets(config):
        # Whoever reads these looks at every version of them, and tells by itself.
        if not one.setting.startswith("tokens.keys.mounted."):
            _log.warning(
                "secret_file.readable",
                path=one.path,
                setting=one.setting,
                who=one.readers.who,
                mode=one.readers.mode,
                hint=one.readers.mend,
            )
