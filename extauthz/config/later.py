"""Words of the configuration that this version does not know yet.

They are published, so people write them. Each is refused, since what is accepted and ignored is worse than an error; but
with a message that says so, instead of one that takes it for a typing error.
"""

from collections.abc import Iterator
from typing import Any

__all__ = ["LATER", "later_words", "without_later_defaults"]

_NOT_YET = "is not available in this version of extauthz"

LATER: dict[tuple[str, ...], str] = {
    ("listen", "http"): f"listen.http {_NOT_YET}: there is no token service yet",
}
"""Settings, with what to tell the person who wrote one."""

_TRUE_NOW: dict[tuple[str, ...], Any] = {
    ("listen", "http"): {"address": "127.0.0.1:8080"},
}
"""The published defaults of these settings. They promise nothing but what is the case, so whoever writes them may."""


def later_words(tree: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The path of every such word in a configuration, with what to tell the person."""
    for path, message in LATER.items():
        inner: Any = tree
        for step in path:
            inner = inner.get(step, _ABSENT) if isinstance(inner, dict) else _ABSENT
        if inner is not _ABSENT and inner != _TRUE_NOW[path]:
            yield path, message


def without_later_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """The configuration without those of these settings that say what is the case anyway."""
    kept = {key: value for key, value in tree.items() if _TRUE_NOW.get((key,), _ABSENT) != value}
    listen = kept.get("listen")
    if isinstance(listen, dict) and listen.get("http") == _TRUE_NOW["listen", "http"]:
        kept["listen"] = {key: value for key, value in listen.items() if key != "http"}
    return kept


_ABSENT = object()
