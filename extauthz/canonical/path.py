"""The canonical path: one spelling for each path, and a refusal where two servers could read it differently.

The path that a policy judges and the path that the upstream serves must be the same one. Envoy can normalise before it
asks (``normalize_path``, ``merge_slashes``), but a plain Envoy does not, and even a normalising one leaves residues such
as ``/a/..;/b``. So the path is brought into canonical form here once more, by hand: URL libraries read ``//admin/x`` as
a host name and lose tabs (GHSA-9f29-v6mm-pw6w).

In the canonical form every character that may stand in a segment (RFC 3986 ``pchar``) stands there as itself, and every
other one as ``%XX`` with upper-case digits. ``/%61dmin`` is ``/admin``, and so is no second spelling left for a deny rule
to miss. What is refused, because servers differ: dot segments, ``//``, encoded slashes, backslashes, double encoding,
``;parameters``, control characters, broken or overlong percent-encodings, fragments. ``PathRules`` can accept some of it,
for upstreams whose reading the operator knows.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["Path", "PathRules", "canonical_path"]

_PLAIN: Final = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?\Z")
"""Paths that are canonical as they stand: nearly all."""
_ODD: Final = re.compile(r"(?:%[89A-Fa-f][0-9A-Fa-f])+|%.{0,2}|[^/A-Za-z0-9._~!$&'()*+,=:@-]", re.DOTALL)
"""What has to be looked at: a run of encoded bytes beyond ASCII, one encoded byte, one other character."""
_PCHAR: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_PARAMETERS: Final = re.compile(r"(?:;|%3B).*", re.DOTALL)
_HIDING: Final = re.compile(r";|%3B|%2F")
_REFUSED_PLAIN: Final = {"\\": "a backslash", "#": "a fragment", "?": "a query"}
_SPACE: Final = 0x20
_DELETE: Final = 0x7F
_LAST_ASCII: Final = 0x7F
_SHORT: Final = 256
"""Characters of a path that is worth remembering."""


class PathRules(NamedTuple):
    """What is accepted besides canonical paths. All off: what could be read in two ways is refused.

    A tuple, since paths are remembered by it, and no other value is hashed as fast.
    """

    normalize: bool = False
    """Resolve dot segments and merge slashes, as Envoy's ``normalize_path`` and ``merge_slashes`` do."""
    encoded_slash: bool = False
    """``%2F`` is part of its segment."""
    double_encoding: bool = False
    """``%25`` is a per cent sign."""
    parameters: bool = False
    """``/a;b/c`` is judged as ``/a/c``."""


STRICT = PathRules()


class Path(NamedTuple):
    """A canonical path, or why there is none."""

    text: str
    fault: str = ""
    """Why the path is ambiguous; empty if it is not."""


def canonical_path(raw: str, rules: PathRules = STRICT) -> Path:
    """The canonical form of a path without query, as it stood on the request line.

    A path that does not begin with ``/`` has none.
    """
    return _remembered(raw, rules) if len(raw) <= _SHORT else _read(raw, rules)


def _read(raw: str, rules: PathRules) -> Path:
    if _PLAIN.match(raw) and raw:
        return Path(raw)
    if not raw.startswith("/"):
        return Path("", "it does not begin with a slash")
    try:
        return Path(_resolve(_respell(raw, rules), rules))
    except _AmbiguousError as ambiguous:
        return Path("", str(ambiguous))


_remembered: Final = lru_cache(maxsize=4096)(_read)
"""Most requests are for a path that somebody asked for a moment ago; queries, in which secrets travel, are never here."""


class _AmbiguousError(Exception):
    """The path has no canonical form; the text says why. Never leaves this module."""


def _respell(raw: str, rules: PathRules) -> str:
    """Write every character in its canonical spelling."""
    return _ODD.sub(lambda found: _spell(found.group(), rules), raw)


def _spell(written: str, rules: PathRules) -> str:
    """The canonical spelling of what ``_ODD`` found."""
    if written[0] != "%":
        return _spell_plain(written, rules)
    if len(written) < len("%XX") or not _HEX.issuperset(written[1:3]):
        raise _AmbiguousError("it has a broken percent-encoding")
    code = int(written[1:3], 16)
    if code <= _LAST_ASCII:
        return _spell_encoded(code, rules)
    try:
        bytes.fromhex(written.replace("%", "")).decode("utf-8")
    except UnicodeDecodeError:
        raise _AmbiguousError("it has percent-encoded bytes that are not UTF-8") from None
    return written.upper()


def _spell_plain(char: str, rules: PathRules) -> str:
    """The canonical spelling of a character that is no ``pchar`` and stands for itself."""
    code = ord(char)
    if code <= _SPACE or code >= _DELETE:
        raise _AmbiguousError("it has a space, a control character or a character that is not ASCII")
    if char in _REFUSED_PLAIN:
        raise _AmbiguousError(f"it has {_REFUSED_PLAIN[char]}")
    if char == ";" and not rules.parameters:
        raise _AmbiguousError("it has path parameters (;)")
    return char if char == ";" else f"%{code:02X}"


def _spell_encoded(code: int, rules: PathRules) -> str:
    """The canonical spelling of a percent-encoded ASCII character."""
    if code in _PCHAR:
        return chr(code)
    if code < _SPACE or code == _DELETE:
        raise _AmbiguousError("it has an encoded control character")
    if code == ord("/") and not rules.encoded_slash:
        raise _AmbiguousError("it has an encoded slash (%2F)")
    if code == ord("\\"):
        raise _AmbiguousError("it has an encoded backslash (%5C)")
    if code == ord("%") and not rules.double_encoding:
        raise _AmbiguousError("it is encoded twice (%25)")
    if code == ord(";") and not rules.parameters:
        raise _AmbiguousError("it has encoded path parameters (%3B)")
    return f"%{code:02X}"


def _resolve(text: str, rules: PathRules) -> str:
    """Judge the segments of a respelled path: empty ones, dot segments and parameters."""
    segments = text.split("/")[1:]
    result: list[str] = []
    last = len(segments) - 1
    for number, written in enumerate(segments):
        segment = _PARAMETERS.sub("", written)
        parts = _HIDING.split(written)
        if len(parts) > 1 and (".." in parts or "." in parts):
            raise _AmbiguousError("it has a dot segment with parameters or encoded slashes")
        if segment == "" and (written or number != last):
            if written or not rules.normalize:
                raise _AmbiguousError("it has an empty segment (//)")
            result.append("")
        elif segment in (".", ".."):
            if not rules.normalize:
                raise _AmbiguousError("it has a dot segment")
            if segment == ".." and result and result.pop() == "":
                # `/a//../b` is `/b` where slashes are merged first, and `/a/b` where dots are resolved first.
                raise _AmbiguousError("it has a dot segment after an empty one (//..)")
            if number == last:
                result.append("")
        else:
            result.append(segment)
    merged = [segment for place, segment in enumerate(result) if segment or place == len(result) - 1]
    return "/" + "/".join(merged)
