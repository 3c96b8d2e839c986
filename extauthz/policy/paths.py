"""Path patterns: literals, ``{name}`` for one segment, a final ``/**`` for everything below.

A pattern must be canonical (``extauthz.canonical.path``), for it is compared with canonical paths only: one that is not
could never match, and a deny that never matches is a hole. ``*`` is no wildcard anywhere else. Istio reads ``/x*`` as a
string prefix, gateways read ``/x/*`` as one segment or as all; a reader could not tell which is meant, so both are
refused with the two spellings that can't be misread.

Whether ``/x`` also matches ``/x/`` depends on the side that it stands on: many servers serve both alike, so what forbids
covers both (``tolerant``), and what allows covers just what is written.

Literals are a set lookup; all others are one regular expression in which nothing is ever tried twice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from extauthz.canonical import PathRules, canonical_path

__all__ = ["PathPattern", "Paths", "read_path"]

_VARIABLE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}\Z")
_REST = "/**"
_MAX_LENGTH = 4096
_SPELLINGS = "write '{name}' for one segment, or end with '/**' for everything below"
_WRITTEN_AS_ENCODED = PathRules(encoded_slash=True, double_encoding=True)
"""``%2F`` and ``%25`` are canonical where ``request`` accepts them; elsewhere such requests are refused anyway."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern in its parts."""

    segments: tuple[str | None, ...]
    """The literal segments, None for a variable; a final empty one for a trailing slash."""
    rest: bool
    """It ends with ``/**``."""
    written: str = field(default="", compare=False)
    """As its author wrote it, with the names of its variables."""

    def __str__(self) -> str:
        """The pattern for people."""
        if self.written:
            return self.written
        text = "".join("/{}" if segment is None else f"/{segment}" for segment in self.segments)
        return text + _REST if self.rest else text

    @property
    def literal(self) -> str | None:
        """The one path that matches, if there is just one."""
        if self.rest or None in self.segments:
            return None
        return "".join(f"/{segment}" for segment in self.segments)

    def lower(self) -> "PathPattern":
        """The pattern with its letters in lower case."""
        return PathPattern(tuple(segment and segment.lower() for segment in self.segments), self.rest)

    def regex(self, *, tolerant: bool) -> str:
        """What describes the whole of a path that the pattern matches, in linear time; ``tolerant`` as for ``Paths``."""
        written = "".join("/[^/]+" if segment is None else "/" + re.escape(segment) for segment in self.segments)
        if self.rest:
            return written + "(?:/.*)?" if written else "/.*"
        return written + "/?" if tolerant and self.segments[-1] != "" else written


class Paths:
    """A set of path patterns."""

    __slots__ = ("_literals", "_patterns")

    def __init__(self, patterns: Iterable[PathPattern], *, tolerant: bool, fold: bool) -> None:
        """Sort the patterns by the way they are compared.

        ``tolerant``: ``/x`` also matches ``/x/``. ``fold``: ASCII letters are compared in lower case; the paths that are
        asked for are then in lower case too.
        """
        literals: set[str] = set()
        others = []
        for pattern in patterns:
            literal = pattern.literal
            if literal is None:
                others.append(pattern.lower() if fold else pattern)
                continue
            literal = literal.lower() if fold else literal
            literals.add(literal)
            if tolerant and not literal.endswith("/"):
                literals.add(literal + "/")
        self._literals = frozenset(literals)
        regex = "|".join(pattern.regex(tolerant=tolerant) for pattern in others)
        self._patterns = re.compile(regex, re.DOTALL) if others else None

    def __contains__(self, path: str) -> bool:
        """Whether a canonical path matches; the empty one, of CONNECT and of requests without HTTP, never does."""
        return path in self._literals or (self._patterns is not None and self._patterns.fullmatch(path) is not None)


def read_path(value: object) -> PathPattern:
    """Read a path pattern.

    Raises:
        ValueError: It is none, or not in canonical form; the text names the spelling that is.
    """
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - pydantic takes only ValueError as the writer's fault
    if len(value) > _MAX_LENGTH:
        raise ValueError(f"has {len(value)} characters, and may have {_MAX_LENGTH}")
    if not value.startswith("/"):
        raise ValueError(f"{value!r} does not begin with '/'")
    rest = value.endswith(_REST)
    written = (value[: -len(_REST)] if rest else value).split("/")[1:]
    segments = tuple(None if _VARIABLE.match(segment) else segment for segment in written)
    for segment in segments:
        if segment and "*" in segment:
            raise ValueError(f"{value!r} has a '*' that is no wildcard: {_SPELLINGS}")
        if segment and ("{" in segment or "}" in segment):
            raise ValueError(
                f"{value!r}: a variable such as '{{name}}' takes a whole segment; a brace itself is %7B, %7D"
            )
    _require_canonical(value, written, segments, rest=rest)
    return PathPattern(segments, rest, value)


def _require_canonical(value: str, written: list[str], segments: tuple[str | None, ...], *, rest: bool) -> None:
    """Refuse what no canonical path could match."""
    if not segments:  # '/**'
        return
    if rest and segments[-1] == "":
        raise ValueError(f"{value!r} can't match: it has an empty segment (//)")
    plain = "".join("/v" if segment is None else f"/{segment}" for segment in segments)
    canonical = canonical_path(plain, _WRITTEN_AS_ENCODED)
    if canonical.fault:
        raise ValueError(f"{value!r} can't match: {canonical.fault}")
    if canonical.text != plain:
        spelled = canonical.text.split("/")[1:]
        mended = [old if segment is None else new for old, segment, new in zip(written, segments, spelled, strict=True)]
        raise ValueError(
            f"{value!r} can't match, since paths are compared in canonical spelling: "
            f"write {'/' + '/'.join(mended) + (_REST if rest else '')!r}"
        )
