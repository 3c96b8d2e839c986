"""Istio's string matches in our words where they mean exactly the same, else in CEL.

Istio matches strings exactly, by prefix (``x*``), by suffix (``*x``) or by presence (``*``). Ours match paths by segments
and hosts by labels, so most of its patterns are a comparison of strings, and CEL says that.
"""

import json
import re
from collections.abc import Sequence

from extauthz.canonical import PathRules, canonical_host, canonical_path
from extauthz.policy.patterns import read_host, read_method

__all__ = ["any_of", "claim", "compare", "host_pattern", "literal", "method_name", "path_expression", "plain_path"]

_TEMPLATE = re.compile(r"\{\*{1,2}\}")
_PLAIN = PathRules()


def literal(text: str) -> str:
    """A CEL string."""
    return json.dumps(text, ensure_ascii=False)


def compare(name: str, pattern: str) -> str:
    """The CEL that says that a string matches a pattern; the string must be there."""
    if pattern == "*":
        return f'{name} != ""'
    if pattern.endswith("*"):
        return f"{name}.startsWith({literal(pattern[:-1])})"
    if pattern.startswith("*"):
        return f"{name}.endsWith({literal(pattern[1:])})"
    return f"{name} == {literal(pattern)}"


def any_of(parts: Sequence[str]) -> str:
    """One of them, in brackets if there are several."""
    return parts[0] if len(parts) == 1 else "(" + " || ".join(parts) + ")"


def plain_path(pattern: str) -> str:
    """The path as it is compared here; empty if it is a pattern, or not in canonical spelling."""
    if "*" in pattern or "{" in pattern or "}" in pattern or not pattern.startswith("/"):
        return ""
    path = canonical_path(pattern, _PLAIN)
    return pattern if not path.fault and path.text == pattern else ""


def path_expression(pattern: str) -> str:
    """The CEL that says that the path matches; empty if nobody can say it exactly."""
    name = "request.url_path"
    if _TEMPLATE.search(pattern):
        if pattern.endswith("/{**}") and not _TEMPLATE.search(pattern[:-4]):
            return f"{name}.startsWith({literal(pattern[:-4])})"
        if "{**}" in pattern:
            return ""
        parts = [re.escape(part) for part in pattern.split("{*}")]
        return f"{name}.matches({literal('^' + '[^/]+'.join(parts) + '$')})"
    if "{" in pattern or "}" in pattern or "*" in pattern[1:-1]:
        return ""
    bare = pattern.strip("*")
    if pattern != "*" and not _canonical_part(bare):
        return ""
    return compare(name, pattern)


def _canonical_part(text: str) -> bool:
    """Whether a piece of a path is spelled as paths are compared."""
    path = canonical_path("/" + text.lstrip("/"), _PLAIN)
    return not path.fault and path.text == "/" + text.lstrip("/") and "//" not in text


def host_pattern(pattern: str) -> str:
    """The same as a host pattern of ours; empty if there is none."""
    try:
        read_host(pattern)
    except ValueError:
        return ""
    bare = pattern.removeprefix("*.")
    return pattern.lower() if pattern == "*" or not canonical_host(bare).fault else ""


def method_name(pattern: str) -> str:
    """The same as a method of ours; empty if there is none."""
    try:
        return read_method(pattern)
    except ValueError:
        return ""


def claim(path: Sequence[str], patterns: Sequence[str]) -> str:
    """The CEL that says that a claim, a string or a list of strings, has one of some values."""
    place, guards = "claims", []
    for step in path:
        guards.append(f"{literal(step)} in {place}")
        place = f"{place}[{literal(step)}]"
    single = any_of([compare(place, pattern) for pattern in patterns])
    each = any_of([compare("c", pattern) for pattern in patterns])
    listed = f"{place}.exists(c, type(c) == string && {each})"
    return " && ".join([*guards, f"(type({place}) == list ? {listed} : type({place}) == string && {single})"])
