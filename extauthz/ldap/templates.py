"""Where a typed name goes: into a DN as escaped text, into a filter as a value that was never text.

A name is whatever somebody typed, so ``*)(uid=*`` and ``alice,ou=admins`` are names too. A filter is parsed once, when the
configuration is loaded, into the tree that travels in a search request; a name then becomes the bytes of one value in
that tree, where no character means anything (RFC 4511 section 4.5.1.7). A DN travels as text, so there each character
that RFC 4514 section 2.4 gives a meaning is escaped.

A placeholder beside a ``*`` is refused: who may sign in should not depend on what else a name is the beginning of.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import sansldap

__all__ = ["DnTemplate", "FilterTemplate", "TemplateError", "escaped_dn_value"]

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_IN_BYTES = re.compile(rb"\{([^{}]*)\}")
_SPECIAL = re.compile(r'["+,;<>=\\#]')
_ATTRIBUTE = r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)"
_VALUE = r'(?:[^\x00",+;<>\\=# ](?:[^\x00",+;<>\\=]|\\[ "#+,;<=>\\]|\\[0-9A-Fa-f]{2})*)'
_DN = re.compile(rf"{_ATTRIBUTE}={_VALUE}(?:[,+]\s*{_ATTRIBUTE}={_VALUE})*\Z")

_BRANCHES = (sansldap.FilterAnd, sansldap.FilterOr)
_LEAVES = (
    sansldap.FilterEquality,
    sansldap.FilterApproxMatch,
    sansldap.FilterGreaterOrEqual,
    sansldap.FilterLessOrEqual,
    sansldap.FilterExtensibleMatch,
)


class TemplateError(ValueError):
    """A template that a person wrote can't be used."""


def escaped_dn_value(text: str) -> str:
    """The text as one attribute value of a DN (RFC 4514 section 2.4)."""
    escaped = _SPECIAL.sub(lambda match: "\\" + match[0], text).replace("\0", "\\00")
    leading = len(escaped) - len(escaped.lstrip(" "))
    trailing = len(escaped) - len(escaped.rstrip(" ")) if leading < len(escaped) else 0
    return "\\20" * leading + escaped[leading : len(escaped) - trailing] + "\\20" * trailing


class DnTemplate:
    """A DN with ``{username}`` in the place of a value, or of a part of one."""

    def __init__(self, text: str) -> None:
        """Check the template. Raises TemplateError."""
        _check_placeholders(text, ("username",))
        # A digit can be a value, and no attribute's name.
        if not _DN.match(text.replace("{username}", "0")):
            raise TemplateError(f"{text!r} is not a DN such as uid={{username}},ou=people,dc=example,dc=org")
        self._text = text

    def fill(self, username: str) -> str:
        """The DN of the person with this name."""
        return self._text.replace("{username}", escaped_dn_value(username))


class FilterTemplate:
    """A filter (RFC 4515) with placeholders for whole values or parts of them."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        """Parse the filter; ``names`` are the placeholders that it may hold, of which it holds one. Raises TemplateError."""
        _check_placeholders(text, names)
        try:
            self._filter = sansldap.LDAPFilter.from_string(text)
        except (ValueError, RecursionError) as error:
            raise TemplateError(f"{text!r} is not a filter such as (uid={{username}})") from error
        if _placeholders(self._filter) != len(_PLACEHOLDER.findall(text)):
            raise TemplateError(
                f"{text!r}: a placeholder stands for a value, and not beside * or in an attribute's name"
            )

    def fill(self, values: Mapping[str, str]) -> sansldap.LDAPFilter:
        """The filter for these values, whatever they hold."""
        return _filled(self._filter, values)


def _check_placeholders(text: str, names: tuple[str, ...]) -> None:
    known = " or ".join(f"{{{name}}}" for name in names)
    found = _PLACEHOLDER.findall(text)
    if not found:
        raise TemplateError(f"{text!r} does not say where {known} goes")
    for placeholder in found:
        if placeholder[1:-1] not in names:
            raise TemplateError(f"{text!r}: {placeholder} is not known, only {known}")


def _filled(tree: sansldap.LDAPFilter, values: Mapping[str, str]) -> sansldap.LDAPFilter:
    """A copy of a filter with its placeholders replaced. One pass over each value: what is put in is not looked at."""
    if isinstance(tree, _BRANCHES):
        return replace(tree, filters=[_filled(inner, values) for inner in tree.filters])
    if isinstance(tree, sansldap.FilterNot):
        return replace(tree, filter=_filled(tree.filter, values))
    if isinstance(tree, _LEAVES):
        return replace(tree, value=_IN_BYTES.sub(lambda match: values[match[1].decode()].encode(), tree.value))
    return tree


def _placeholders(tree: sansldap.LDAPFilter) -> int:
    """How many placeholders stand where ``_filled`` replaces them."""
    if isinstance(tree, _BRANCHES):
        return sum(map(_placeholders, tree.filters))
    if isinstance(tree, sansldap.FilterNot):
        return _placeholders(tree.filter)
    return len(_IN_BYTES.findall(tree.value)) if isinstance(tree, _LEAVES) else 0
