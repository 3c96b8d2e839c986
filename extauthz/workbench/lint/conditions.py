"""Findings about conditions: comparisons that look right and never hold, or that a client can step around.

What is looked at is the text, for the few shapes that people write: a name of the request compared with a literal, a
header asked for by a literal. Whatever is written in another way is left alone.
"""

import re
from collections.abc import Iterator

from extauthz.canonical import PathRules, canonical_host, canonical_path
from extauthz.policy import Rule
from extauthz.policy.expression import Condition
from extauthz.workbench.lint.findings import Finding

__all__ = ["condition_findings"]

_LITERAL = r"""(?:"([^"\\]*)"|'([^'\\]*)')"""
_EQUAL = re.compile(rf"\brequest\.(path|url_path|host|method)\s*(==|!=)\s*{_LITERAL}")
_EQUAL_BACK = re.compile(rf"{_LITERAL}\s*(==|!=)\s*request\.(path|url_path|host|method)\b")
_HEADER = re.compile(rf"\brequest\.headers\s*\[\s*{_LITERAL}\s*\]|{_LITERAL}\s+in\s+request\.headers\b")
_CLAIM = re.compile(r"\bclaims\.([A-Za-z_]\w*)")
_GUARD = re.compile(r"""\bhas\s*\(\s*claims\.([A-Za-z_]\w*)|["']([^"']+)["']\s+in\s+claims\b""")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}\Z")


def condition_findings(rule: Rule) -> Iterator[Finding]:
    """What a rule's condition tells."""
    when = rule.when
    if when is None:
        return
    for code, message, mend in _faults(when, deny=rule.deny):
        yield Finding(code, rule.where, f"the condition of rule {rule.name!r} {message}", mend)


def _faults(when: Condition, *, deny: bool) -> Iterator[tuple[str, str, str]]:
    if not when.needs:
        value = when.constant
        if value is not None:
            word = "true" if value else "false"
            yield "constant-condition", f"is always {word}", "remove it" if value else "remove the rule, or mend it"
    for name, operator, text in _comparisons(when.source):
        yield from _comparison(name, operator, text)
    for name in _headers(when.source):
        if name != name.lower():
            told = f"asks for header {name!r}, and names of headers are in lower case"
            yield "header-spelling", told, f"write {name.lower()!r}"
    if deny:
        guarded = {one or other for one, other in _GUARD.findall(when.source)}
        for claim in dict.fromkeys(_CLAIM.findall(when.source)):
            if claim not in guarded and "?" not in when.source:
                told = f"asks for claims.{claim} without has(): callers without that claim are denied"
                yield "unguarded-claim", told, f"write has(claims.{claim}) && ..., unless that is meant"


def _comparisons(source: str) -> Iterator[tuple[str, str, str]]:
    for name, operator, one, other in _EQUAL.findall(source):
        yield name, operator, one or other
    for one, other, operator, name in _EQUAL_BACK.findall(source):
        yield name, operator, one or other


def _headers(source: str) -> Iterator[str]:
    for found in _HEADER.findall(source):
        yield next((text for text in found if text), "")


def _comparison(name: str, operator: str, text: str) -> Iterator[tuple[str, str, str]]:
    told = f"compares request.{name} with {text!r}, "
    if name == "path" and "?" not in text:
        yield (
            "path-equality",
            f"compares request.path with {text!r}, and request.path has the query: '?' is enough to step around it",
            f"write request.url_path {operator} {text!r}, or say it with `to: paths`",
        )
    if name in ("path", "url_path"):
        path = text.partition("?")[0]
        canonical = canonical_path(path, PathRules(encoded_slash=True, double_encoding=True)) if path else None
        if canonical is not None and canonical.fault:
            yield (
                "path-spelling",
                f"{told}which no request can have: {canonical.fault}",
                "write the path in canonical spelling",
            )
        elif canonical is not None and canonical.text != path:
            yield "path-spelling", f"{told}and paths are compared in canonical spelling", f"write {canonical.text!r}"
    elif name == "host":
        host = canonical_host(text)
        if host.fault:
            yield "host-spelling", f"{told}which is no host: {host.fault}", "write a host name"
        elif host.text != text:
            yield "host-spelling", f"{told}and hosts are compared in lower case, without port", f"write {host.text!r}"
    elif name == "method" and not _METHOD.match(text):
        yield "method-spelling", f"{told}and methods are upper-case tokens", f"write {text.upper()!r}"
