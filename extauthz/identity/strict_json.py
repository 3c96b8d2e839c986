"""JSON as two parsers can't read differently: the form in which tokens and key sets are believed.

RFC 7519 section 4 lets a parser take the last of two equal names; a second parser in the chain may take the first. RFC
8259 leaves the depth and the size of numbers to the parser; Python would spend seconds on a long run of digits and raise
``RecursionError`` on ten thousand brackets. So here duplicates, deep nesting, large numbers, NaN and anything around the
one object are refused, before they cost anything. The standard library's scanner does the reading: the checks ride on
its hooks, and what could lead it too deep or too far, brackets and commas, is counted first (those inside strings too:
no token or key set comes near the bounds).
"""

import json
import math
import re
from typing import Any, NoReturn

__all__ = ["JsonError", "has_unsafe_text", "read_object"]

MAX_DEPTH = 32
MAX_BRACKETS = 512
"""Opening brackets in the text: it bounds objects and lists together, and how deep the scanner can be led."""
MAX_COMMAS = 2048
"""It bounds the members of all objects and lists together, and so what their checks cost."""

_MAX_DIGITS = 40
_INT64 = 1 << 63
_UNSAFE = re.compile("[\x00\ud800-\udfff]")


class JsonError(ValueError):
    """The bytes are not one JSON object that can be read in one way only. The text names the fault, never the content."""


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are, and nothing else.

    Raises:
        JsonError: They are not UTF-8, not JSON, not an object, or ambiguous, deep or numeric beyond bounds.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError("not UTF-8") from error
    brackets = text.count("{") + text.count("[")
    if brackets > MAX_BRACKETS:
        raise JsonError(f"of more than {MAX_BRACKETS} objects and lists")
    if text.count(",") > MAX_COMMAS:
        raise JsonError(f"of more than {MAX_COMMAS} members")
    try:
        value = _DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise JsonError("not JSON") from error
    if brackets > MAX_DEPTH and _is_deep(value):
        raise JsonError(f"nested more than {MAX_DEPTH} levels deep")
    if not isinstance(value, dict):
        raise JsonError("not a JSON object")
    return value


def has_unsafe_text(raw: bytes, value: object) -> bool:
    r"""Whether a string in the value holds U+0000 or half a surrogate pair.

    In JSON both can only be written as ``\u`` escapes, so text without any is not walked. ``value`` is what
    ``read_object`` made of ``raw``.
    """
    return b"\\u" in raw and _is_unsafe(value)


def _is_unsafe(value: object) -> bool:
    if isinstance(value, str):
        return _UNSAFE.search(value) is not None
    if isinstance(value, dict):
        return any(_is_unsafe(name) or _is_unsafe(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_is_unsafe, value))


def _is_deep(value: object) -> bool:
    """Whether there is anything below the deepest level allowed; level by level, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise JsonError("an object has the same name twice")
    return result


def _integer(digits: str) -> int:
    if len(digits) <= _MAX_DIGITS and -_INT64 <= (number := int(digits)) < _INT64:
        return number
    raise JsonError("a number is too large")


def _decimal(digits: str) -> float:
    if len(digits) <= _MAX_DIGITS and math.isfinite(number := float(digits)):
        return number
    raise JsonError("a number is too large or too long")


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_constant, strict=True
)
