"""Which files a configuration names that hold a secret: by the names of their keys, as ``references`` tells files."""

from collections.abc import Iterator
from typing import Any, Final

from extauthz.config.configuration import Config
from extauthz.documents import spelled

__all__ = ["secret_paths"]

_SECRET: Final = frozenset(
    {
        "bindPasswordFile",
        "clientSecretFile",
        "keyFile",
        "passwordFile",
        "privateKeyFile",
        "secretFile",
        "secretFiles",
        "secretIdFile",
        "tokenFile",
    }
)
_MOUNTED: Final = ("tokens", "keys", "mounted")
"""Its files are named by what they are for."""


def secret_paths(config: Config) -> list[tuple[str, str]]:
    """Each setting that names such a file, with the file, in the order of the settings."""
    return [(spelled(where), file) for where, file in _found(config.model_dump(by_alias=True, exclude_none=True), ())]


def _found(value: Any, where: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _found(inner, (*where, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _found(inner, (*where, index))
    elif isinstance(value, str):
        key = next((step for step in reversed(where) if isinstance(step, str)), "")
        if key in _SECRET or where[:-1] == _MOUNTED:
            yield where, value
