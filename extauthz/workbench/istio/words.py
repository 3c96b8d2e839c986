"""Istio's string matches in our words where they mean exactly the same, else in CEL.

Istio matches strings exactly, by prefix (``x*``), by suffix (``*x``) or by presence (``*``), and looks for the star at the
beginning first: the rest is literal, stars included. Ours match paths by segments and hosts by labels, so most of its
patterns are a comparison of strings, and CEL says that.
"""

import json
import re
from collections.abc import Sequence

from extauthz.canonical import PathRules, canonical_host, canonical_path
from extauthz.policy.patterns import read_host, read_method

__all__ = [
    "SPACE_DELIMITED",
    "any_of",
    "bracketed",
    "claim",
    "compare",
    "host_pattern",
    "literal",
    "method_name",
    "path_expression",
    "piece",
    "plain_path",
    "request_principal",
    "require_template",
]

_TEMPLATE = re.compile(r"\{\*{1,2}\}")
_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+\Z")
_PLAIN = PathRules()
_SEGMENT = "[a-zA-Z0-9\\-._~%!$&'()+,;:@]+"
"""What Envoy's URI templates take for one segment."""
SPACE_DELIMITED = ("scope", "permission")
"""Claims that Envoy makes lists of where they are strings, without being asked."""
_ISSUER, _SUBJECT = "identity.issuer", "identity.subject"


def literal(text: str) -> str:
    """A CEL string."""
    return json.dumps(text, ensure_ascii=False)


def compare(name: str, pattern: str) -> str:
    """The CEL that says that a string matches a pattern; the string must be there."""
    if pattern == "*":
        return f'{name} != ""'
    if pattern.startswith("*"):
        return f"{name}.endsWith({literal(pattern[1:])})"
    if pattern.endswith("*"):
        return f"{name}.startsWith({literal(pattern[:-1])})"
    return f"{name} == {literal(pattern)}"


def piece(pattern: str) -> str:
    """What a pattern compares with, without the star that says how."""
    return pattern[1:] if pattern.startswith("*") else pattern.removesuffix("*")


def any_of(parts: Sequence[str]) -> str:
    """One of them, in brackets if there are several."""
    return parts[0] if len(parts) == 1 else "(" + " || ".join(parts) + ")"


def bracketed(parts: Sequence[str]) -> str:
    """One of them, in brackets in any case."""
    return any_of(parts) if len(parts) > 1 else f"({parts[0]})"


def require_template(path: str) -> str:
    """The path, if Istio takes it (``CheckValidPathTemplate``).

    Raises:
        ValueError: It has braces that are no operator, or an operator among what is no plain text.

    """
    template, rest = bool(_TEMPLATE.search(path)), True
    for segment in path.strip("/").split("/"):
        if segment in ("{*}", "{**}"):
            if not rest:
                raise ValueError(f"{path!r}: {{**}} must be the last operator")
            rest = segment == "{*}"
        elif "{" in segment or "}" in segment or (template and not _LITERAL.match(segment)):
            raise ValueError(f"{path!r}: a segment is {{*}}, {{**}} or plain text; {segment!r} is neither")
    return path


def plain_path(pattern: str) -> str:
    """The path as it is compared here; empty if it is a pattern, or not in canonical spelling."""
    if "*" in pattern or "{" in pattern or "}" in pattern or not pattern.startswith("/"):
        return ""
    path = canonical_path(pattern, _PLAIN)
    return pattern if not path.fault and path.text == pattern else ""


def path_expression(pattern: str, *, wide: bool) -> str:
    """The CEL that says that the path matches; empty if nobody can say it exactly.

    ``wide``: it must hold wherever Istio's does; otherwise nowhere else.
    """
    name = "request.url_path"
    if _TEMPLATE.search(pattern):
        if not all(_canonical_part(text) for text in _TEMPLATE.split(pattern)):
            return ""
        if pattern.endswith("/{**}") and not _TEMPLATE.search(pattern[:-4]):
            return f"{name}.startsWith({literal(pattern[:-4])})"
        if "{**}" in pattern:
            return ""
        parts = [re.escape(part) for part in pattern.split("{*}")]
        return f"{name}.matches({literal('^' + ('[^/]+' if wide else _SEGMENT).join(parts) + '$')})"
    return compare(name, pattern) if pattern == "*" or _canonical_part(piece(pattern)) else ""


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


def claim(path: Sequence[str], patterns: Sequence[str], *, wide: bool) -> str:
    """The CEL that says that a claim, a string or a list of strings, has one of some values.

    Envoy makes a list of ``scope`` and ``permission`` where they are strings, and of claims that a RequestAuthentication
    names. Of those we don't know: ``wide`` takes every claim at the top for both, so that it holds wherever Istio's does.
    """
    place, guards = "claims", []
    for step in path:
        guards.append(f"{literal(step)} in {place}")
        place = f"{place}[{literal(step)}]"
    each = any_of([compare("c", pattern) for pattern in patterns])
    single = any_of([compare(place, pattern) for pattern in patterns])
    words = f'{place}.split(" ").exists(c, {each})'
    if len(path) == 1 and wide and path[0] not in SPACE_DELIMITED:
        single = f"({single} || {words})"
    elif len(path) == 1 and path[0] in SPACE_DELIMITED:
        single = words
    listed = f"{place}.exists(c, type(c) == string && {each})"
    return " && ".join([*guards, f"(type({place}) == list ? {listed} : type({place}) == string && {single})"])


def request_principal(pattern: str) -> str:
    """The CEL that says that issuer and subject match a pattern, which Istio cuts at its last slash."""
    issuer, slash, subject = pattern.rpartition("/")
    parts = f'{_ISSUER} != ""', f'{_SUBJECT} != ""'
    if pattern == "*":
        pass
    elif pattern.startswith("*"):
        suffix = f"{_SUBJECT} == {literal(subject)}" if slash else f"{_SUBJECT}.endsWith({literal(pattern[1:])})"
        parts = compare(_ISSUER, issuer if slash else "*"), suffix
    elif pattern.endswith("*") and slash:
        prefix = parts[1] if subject == "*" else f"{_SUBJECT}.startsWith({literal(subject[:-1])})"
        parts = f"{_ISSUER} == {literal(issuer)}", prefix
    elif pattern.endswith("*"):
        parts = f"{_ISSUER}.startsWith({literal(pattern[:-1])})", parts[1]
    else:
        parts = f"{_ISSUER} == {literal(issuer if slash else pattern)}", f"{_SUBJECT} == {literal(subject)}"
    return " && ".join(parts)
