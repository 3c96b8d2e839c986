"""Header names: which are well-formed, and which must never leave this server.

Envoy accepts from an authorization server what breaks the request (``content-length``, ``transfer-encoding``) or turns it
into another one (``:path``, ``host``), and default configurations do not stop it. So the names are refused where they are
written (configuration, policies) and once more where the answer is made.

``x_auth_user`` is another name than ``x-auth-user``, and Envoy lets both pass, but CGI, WSGI and PHP make one variable of
them. So a client's header whose name differs from one of ours in such characters alone is a forgery (``HeaderTwins``).
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

__all__ = ["HeaderTwins", "emittable", "folded_names", "header_name"]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}\Z")
_NEVER: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "expect",
        "forwarded",
        "x-request-id",
        "traceparent",
        "tracestate",
        "b3",
    }
)
_NAMES: Final = re.compile(r"(?::?[!#$%&'*+.^_`|~0-9a-z-]+\n)*\Z")
_SEPARATOR: Final = re.compile(r"[!#$%&'*+.^_`|~]")
_SEPARATORS: Final = str.maketrans("!#$%&'*+.^_`|~", "-" * 14)
_MAX_SETS: Final = 2048
_MAX_CHARACTERS: Final = 1024
"""Of the names in a set that is worth remembering."""
_NEVER_PREFIXES: Final = ("x-envoy-", "x-forwarded-", "x-b3-")


def header_name(name: str) -> bool:
    """Whether this is a header name in the form that gRPC and HTTP/2 ask for: a lower-case token (RFC 9113 8.2)."""
    return _TOKEN.match(name) is not None


def emittable(name: str) -> bool:
    """Whether a policy may ever set or remove a header of this name.

    Not pseudo headers, not what frames or routes a message, not what Envoy and its tracers vouch for.
    """
    return _TOKEN.match(name) is not None and name not in _NEVER and not name.startswith(_NEVER_PREFIXES)


def folded_names(names: Collection[str]) -> Collection[str] | None:
    """A request's header names in the one spelling that upstreams may fold them to, in order; None if one is malformed.

    Names are lower-case tokens; pseudo headers are taken too. What clients of one kind send has the same names time
    after time, so sets that occurred are kept, and all of them forgotten when there are too many.
    """
    asked = tuple(names)
    known = _known.get(asked)
    if known is not None:
        return known
    text = "\n".join((*asked, ""))
    if text.count("\n") != len(asked) or not _NAMES.match(text):
        return None
    folded = tuple(_fold(text).split("\n")[:-1]) if _SEPARATOR.search(text) else asked
    if len(text) <= _MAX_CHARACTERS:
        if len(_known) >= _MAX_SETS:
            _known.clear()
        _known[asked] = folded
    return folded


_known: dict[tuple[str, ...], tuple[str, ...]] = {}


def _fold(text: str) -> str:
    return text.translate(_SEPARATORS)


class HeaderTwins:
    """Finds names that an upstream could take for one of these, and that are none of them."""

    __slots__ = ("_known", "_names")

    def __init__(self, names: Iterable[str]) -> None:
        """Keep the names, which are in lower case; one without separator has no twin."""
        self._names = frozenset(name for name in names if "-" in _fold(name))
        self._known = {_fold(name): name for name in sorted(self._names)}

    def find(self, names: Collection[str], folded: Collection[str]) -> str:
        """The name that one of the client's, given with their ``folded_names``, could be taken for; empty if none is."""
        if self._known.keys().isdisjoint(folded):
            return ""
        for name, spelled in zip(names, folded, strict=True):
            if spelled in self._known and name not in self._names:
                return self._known[spelled]
        return ""
