"""The form of a request (RFC 6749 section 3.2, appendix B), read in one way only.

A parameter that is there twice is refused, because two readers could take different ones; so is what is no sound
encoding. Parameters without a value count as absent, unknown ones are nobody's, and the query of the URL is never read:
it is in everybody's logs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from extauthz.tokens.errors import OAuthError
from extauthz.tokens.http import HttpQuestion

__all__ = ["MAX_FORM_SIZE", "MAX_PARAMETERS", "Form", "form_decoded", "read_form"]

MAX_FORM_SIZE: Final = 65_536
"""Bytes. A token of a large directory has 12 kB, and an exchange carries one."""
MAX_PARAMETERS: Final = 64
_FORM: Final = "application/x-www-form-urlencoded"
_REPEATABLE: Final = frozenset({"resource", "audience"})
"""RFC 8707 section 2, RFC 8693 section 2.1."""
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Form:
    """The parameters of a request."""

    values: Mapping[str, tuple[str, ...]] = field(repr=False)

    def one(self, name: str) -> str:
        """The value of a parameter; empty if it is absent."""
        return self.values.get(name, ("",))[0]

    def all(self, name: str) -> tuple[str, ...]:
        """The values of a parameter that may be there several times."""
        return self.values.get(name, ())

    def __contains__(self, name: str) -> bool:
        """Whether a parameter is there, with a value."""
        return name in self.values


def read_form(question: HttpQuestion) -> Form | OAuthError:
    """The form in the body of a request."""
    kinds = question.headers.get("content-type", ())
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != _FORM:
        return _refused(f"the body must be {_FORM}")
    if len(question.body) > MAX_FORM_SIZE:
        return _refused(f"the body is longer than {MAX_FORM_SIZE} bytes")
    pieces = question.body.split(b"&")
    if len(pieces) > MAX_PARAMETERS:
        return _refused(f"there are more than {MAX_PARAMETERS} parameters")
    values: dict[str, tuple[str, ...]] = {}
    names: set[str] = set()
    for piece in pieces:
        if not piece:
            continue
        raw_name, _, raw_value = piece.partition(b"=")
        name, value = _decoded(raw_name), _decoded(raw_value)
        if name is None or value is None:
            return _refused("a parameter is not soundly encoded, or holds control characters")
        if name in names and name not in _REPEATABLE:
            return _refused("a parameter is there more than once")
        names.add(name)
        if value:
            values[name] = (*values.get(name, ()), value)
    return Form(values)


def form_decoded(text: str) -> str | None:
    """A form-encoded text decoded; None if it is not one, or holds control characters."""
    if _BROKEN_ESCAPE.search(text):
        return None
    try:
        decoded = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(decoded) else decoded


def _decoded(raw: bytes) -> str | None:
    try:
        return form_decoded(raw.decode("ascii"))
    except UnicodeDecodeError:
        return None


def _refused(description: str) -> OAuthError:
    return OAuthError("invalid_request", description)
