"""Which rules could mean a path: one walk along its segments, however many patterns there are.

A node stands for the segments that lead to it and holds two masks of rules: ``here`` for patterns that end at it, ``rest``
for those that end with ``/**`` there. A variable is a branch of its own. A walk follows the literal branch and the variable
one, so it visits at most the nodes whose patterns still fit; the path's length costs no more than the longest pattern's.
"""

from extauthz.policy.paths import PathPattern

__all__ = ["PathTrie"]


class _Node:
    __slots__ = ("children", "here", "rest", "variable")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.here = 0
        self.rest = 0


class PathTrie:
    """Masks by path pattern."""

    __slots__ = ("_fold", "_root", "_tolerant")

    def __init__(self, *, tolerant: bool, fold: bool) -> None:
        """Begin empty; ``tolerant`` and ``fold`` mean what they do for ``extauthz.policy.paths.Paths``."""
        self._root = _Node()
        self._tolerant = tolerant
        self._fold = fold

    def add(self, pattern: PathPattern, mask: int) -> None:
        """Put rules under a pattern."""
        node = self._root
        for segment in pattern.segments:
            if segment is None:
                if node.variable is None:
                    node.variable = _Node()
                node = node.variable
            else:
                node = node.children.setdefault(segment.lower() if self._fold else segment, _Node())
        if pattern.rest:
            node.rest |= mask
            return
        node.here |= mask
        if self._tolerant and pattern.segments[-1] != "":
            node.children.setdefault("", _Node()).here |= mask

    def find(self, path: str) -> int:
        """The rules with a pattern that matches a canonical path; none for the empty one."""
        if not path:
            return 0
        found = self._root.rest
        nodes = [self._root]
        for segment in path[1:].split("/"):
            following = []
            for node in nodes:
                child = node.children.get(segment)
                if child is not None:
                    following.append(child)
                    found |= child.rest
                if segment and node.variable is not None:
                    following.append(node.variable)
                    found |= node.variable.rest
            if not following:
                return found
            nodes = following
        for node in nodes:
            found |= node.here
        return found
