"""The headers that an allowed request takes along: values from expressions, made safe to stand in a header.

A value is one string or a list of strings. ``%``, ``,``, control characters, what is not ASCII, and a blank at either end
(receivers strip it) are percent-encoded (UTF-8) in each element and the elements joined by ``,``: so the receiver splits
at commas, decodes each part, and has exactly the list that was meant; a role named ``admin,root`` can't become two, nor
``" admin"`` another one. An empty string gives an empty header, an empty list as well: the caller has no roles, which is
something else than not having been asked. Whatever is neither string nor list of strings at run time, or is longer than
Envoy's peers take, has no value, and then the header is removed.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from extauthz.policy.expression import HeaderValue
from extauthz.policy.facts import Facts

__all__ = ["ResponseHeader", "encode"]

MAX_BYTES: Final = 8192
"""Of one encoded value. Envoy refuses requests with more than 60 KiB of headers."""

_SHORT: Final = 128
"""Characters of what is remembered encoded."""
_FEW: Final = 32
"""Roles of a caller whose list is."""
_UNSAFE: Final = re.compile(r"[^\x20-\x24\x26-\x2b\x2d-\x7e]|\A | \Z")
"""All but printable ASCII without ``%`` and ``,``, and a blank at either end."""


@dataclass(frozen=True, slots=True)
class ResponseHeader:
    """A header name and where its value comes from."""

    name: str
    expression: HeaderValue

    def value(self, facts: Facts) -> str | None:
        """The encoded value, or None if the header must be removed."""
        expression = self.expression
        identity = facts.identity
        if identity is not None:
            # What nearly all headers tell, and the same for each request of a caller.
            if expression.name == "identity.subject":
                return _remembered(identity.subject) if len(identity.subject) <= _SHORT else _text(identity.subject)
            if expression.name == "identity.roles" and len(identity.roles) <= _FEW:
                return _roles(identity.roles)
        found = facts.value(expression.name) if expression.name else expression.value(facts.bound)
        if found is None:
            return None
        return encode(found)


def _text(text: str) -> str | None:
    """A name's string, encoded; None if it is empty, which is to be absent, or not fit for any header."""
    return encode(text) if text and "\0" not in text else None


_remembered: Final = lru_cache(maxsize=8192)(_text)


@lru_cache(maxsize=1024)
def _roles(roles: frozenset[str]) -> str | None:
    return encode(sorted(roles)) if not any("\0" in role for role in roles) else None


def encode(value: str | list[str]) -> str | None:
    """Encode a value; None if it is too long or not Unicode."""
    try:
        text = _element(value) if isinstance(value, str) else ",".join(map(_element, value))
    except UnicodeEncodeError:
        return None
    return text if len(text) <= MAX_BYTES else None


def _element(text: str) -> str:
    return _UNSAFE.sub(_percent, text) if _UNSAFE.search(text) else text


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode())
