"""Words of the configuration that this version does not know yet.

They are published, so people write them. Each is refused, since what is accepted and ignored is worse than an error; but
with a message that says so, instead of one that takes it for a typing error.
"""

from collections.abc import Iterator
from typing import Any

__all__ = ["LATER", "later_words"]

_NOT_YET = "is not available in this version of extauthz"

LATER: dict[tuple[str, ...], str] = {
    ("workers",): f"workers {_NOT_YET}: it runs in one process",
    ("store",): f"store {_NOT_YET}: there is no shared state yet",
    ("listen", "http"): f"listen.http {_NOT_YET}: there is no token service yet",
    ("check", "maxInFlight"): f"check.maxInFlight {_NOT_YET}: load is not shed yet",
}
"""Settings, with what to tell the person who wrote one."""

_KINDS = ("introspection", "apiKeys", "mesh", "basic")


def later_words(tree: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The path of every such word in a configuration, with what to tell the person."""
    for path, message in LATER.items():
        inner: Any = tree
        for step in path:
            inner = inner.get(step, _ABSENT) if isinstance(inner, dict) else _ABSENT
        if inner is not _ABSENT:
            yield path, message
    providers = tree.get("providers")
    for index, provider in enumerate(providers if isinstance(providers, list) else ()):
        for kind in _KINDS:
            if isinstance(provider, dict) and kind in provider:
                yield (
                    ("providers", index, kind),
                    f"providers of kind {kind} are not available in this version of extauthz",
                )


_ABSENT = object()
