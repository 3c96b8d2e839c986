"""The file and the variables over it as one document, in which each value still knows where it was written."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from extauthz.config.environment import Override
from extauthz.documents import Document
from extauthz.errors import Position

__all__ = ["LayeredDocument"]


class LayeredDocument(Document):
    """A document with values of environment variables laid over it."""

    def __init__(self, file: Document, overrides: Sequence[Override]) -> None:
        """Lay the overrides, outer settings first, over what the file says."""
        super().__init__(deepcopy(file.value), None, file.file)
        self._base = file
        self._overrides = overrides
        for override in overrides:
            _put(self.value, override.path, deepcopy(override.document.value))

    def where(self, path: Sequence[str | int] = (), *, key: bool = False) -> Position:
        """The place of a value, in the variable that gave it or else in the file."""
        steps = tuple(path)
        for override in reversed(self._overrides):
            if steps[: len(override.path)] == override.path:
                rest = steps[len(override.path) :]
                return override.document.where(rest, key=key and bool(rest))
        if not _has(self._base.value, steps):
            # A section that only variables speak of.
            for override in self._overrides:
                if override.path[: len(steps)] == steps:
                    return override.document.where()
        return self._base.where(steps, key=key)


def _put(tree: Any, path: tuple[str, ...], value: Any) -> None:
    """Set a value in nested mappings. Where the file has no mapping on the way, its fault is told instead."""
    for step in path[:-1]:
        if not isinstance(tree, dict):
            return
        tree = tree.setdefault(step, {})
    if isinstance(tree, dict):
        tree[path[-1]] = value


def _has(tree: Any, path: Sequence[Any]) -> bool:
    for step in path:
        if isinstance(tree, list) and isinstance(step, int) and step >= len(tree):
            return False
        if isinstance(tree, dict) and step not in tree:
            return False
        if not isinstance(tree, dict | list):
            return False
        tree = tree[step]
    return True
