"""What is known of one request while it is judged, in the forms that rules and expressions ask for.

One ``Facts`` lives for one decision. What every rule asks for (path, roles) is there at once; the values for CEL are
bound when the first expression needs them, once for all expressions, and only the names that some expression of the
snapshot may use.

What is absent has no value. A caller without credentials has no ``identity.subject``, a peer without certificate no
``source.principal``, a TCP connection no ``request.method``: an expression that uses one errs, so that neither
``source.principal != "x"`` nor ``identity.subject == request.headers["x-user"]`` can hold by emptiness. ``claims`` and
``identity.scopes`` of a caller without credentials are empty and its roles are ``["anonymous"]``, so that ``has()`` and
``in`` can ask.

A value with U+0000 or a lone surrogate is not bound either (with a map or list, none of it): the evaluator would cut or
choke on it. The rooms before this one refuse such requests and claims; this is the second lock on that door.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from extauthz.canonical import canonical_address
from extauthz.model import ANONYMOUS, Identity, Peer, Request
from extauthz.policy.expression import Activation, activation

__all__ = ["Facts"]

_MAX_QUERY_FIELDS: Final = 1000
_MAX_ELEMENTS: Final = 2000
"""Of a list in the claims. The evaluator copies a list in each round of a loop that makes one: the square of this."""
_ANONYMOUS_ROLES: Final = frozenset({ANONYMOUS})


class Facts:
    """A request, its caller (None: without credentials), and what follows from the two."""

    __slots__ = ("_bound", "_needs", "identity", "request", "roles")

    def __init__(self, request: Request, identity: Identity | None, needs: frozenset[str], *, fold: bool) -> None:
        """Take what a decision is about; ``needs`` are the names to bind for CEL, ``fold`` ignores the path's case."""
        self.request = replace(request, path=request.path.lower()) if fold else request
        self.identity = identity
        if identity is None:
            self.roles = _ANONYMOUS_ROLES
        else:
            # No token may give this role; if one did, its caller would still not be taken for another one.
            self.roles = identity.roles - _ANONYMOUS_ROLES if ANONYMOUS in identity.roles else identity.roles
        self._needs = needs
        self._bound: Activation = None

    @property
    def bound(self) -> Activation:
        """The values for CEL, bound once."""
        if self._bound is None:
            values = {name: value for name in self._needs if (value := self.value(name)) is not None}
            self._bound = activation(values)
        return self._bound

    def value(self, name: str) -> Any:
        """The value of a name that expressions may use; None if it is absent or not fit for CEL."""
        try:
            value = _READERS[name](self.request, self.identity)
            return None if value is None or value == "" else _plain(value)
        except ValueError:
            return None


def _plain(value: Any) -> Any:
    """A value in the types that CEL takes.

    Raises:
        ValueError: It has a string that the evaluator would misread, or a list that it would copy at every step.
    """
    if isinstance(value, str):
        _require_fit(value)
        return value
    if isinstance(value, Mapping):
        if all(isinstance(item, str) for item in value.values()):
            _require_fit("".join(value))
            _require_fit("".join(value.values()))
            return dict(value)
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > _MAX_ELEMENTS:
            raise ValueError("too long")
        return [_plain(item) for item in value]
    return value


def _require_fit(text: str) -> None:
    if "\0" in text:
        raise ValueError("U+0000")
    if not text.isascii():
        text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError


def _path(request: Request, _identity: Identity | None) -> str:
    return f"{request.path}?{request.query}" if request.query else request.path


def _address(peer: Peer) -> str:
    """In the one spelling that address blocks are compared with, or as it was sent if it is no address."""
    return str(canonical_address(peer.address) or peer.address)


def _headers(request: Request, _identity: Identity | None) -> dict[str, str] | None:
    if not request.http:
        return None
    return {name: values[0] if len(values) == 1 else ",".join(values) for name, values in request.headers.items()}


def _query(request: Request, _identity: Identity | None) -> dict[str, list[str]] | None:
    """The query's fields as forms write them; one that is not UTF-8 or has too many fields has no value."""
    if not request.http:
        return None
    fields: dict[str, list[str]] = {}
    if request.query:
        pairs = parse_qsl(request.query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS)
        for name, value in pairs:
            fields.setdefault(name, []).append(value)
    return fields


def _time(request: Request, _identity: Identity | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(request.time, UTC) if request.time > 0 else None
    except (OverflowError, OSError):
        return None


def _roles(_request: Request, identity: Identity | None) -> list[str]:
    return sorted(identity.roles) if identity is not None else [ANONYMOUS]


_READERS: Mapping[str, Callable[[Request, Identity | None], Any]] = {
    "request.method": lambda request, _: request.method,
    "request.path": _path,
    "request.url_path": lambda request, _: request.path,
    "request.host": lambda request, _: request.host,
    "request.scheme": lambda request, _: request.scheme,
    "request.headers": _headers,
    "request.query": _query,
    "request.time": _time,
    "request.id": lambda request, _: request.id,
    "source.address": lambda request, _: _address(request.source),
    "source.principal": lambda request, _: request.source.principal,
    "destination.address": lambda request, _: _address(request.destination),
    "destination.principal": lambda request, _: request.destination.principal,
    "identity.subject": lambda _, identity: identity and identity.subject,
    "identity.issuer": lambda _, identity: identity and identity.issuer,
    "identity.provider": lambda _, identity: identity and identity.provider,
    "identity.roles": _roles,
    "identity.scopes": lambda _, identity: identity.scopes if identity is not None else (),
    "claims": lambda _, identity: identity.claims if identity is not None else {},
    "context": lambda request, _: request.context,
}
