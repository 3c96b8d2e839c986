"""Credentials: where in a request a token may be, and that there is exactly one.

All places of all providers are looked at, whatever came first: a request that carries two credentials is refused, even
if they are equal, because the service behind the proxy may read the other one. The same holds for what two parsers could
count differently: a header that arrived twice or was joined by a comma (Envoy joins ``Authorization``), a cookie or query
parameter that appears twice under any usual way to split. Nothing is repaired.

What a browser sends by itself, or lets any page send, counts only if the page may use it (``extauthz.identity.origin``).

A place that carries something unusable is a refusal and never "no credentials": otherwise a bad token would turn its
bearer into an anonymous caller. Nothing found anywhere is None, and the policies decide whether that is enough.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never
from urllib.parse import unquote_plus

from extauthz.identity.credential import Credential
from extauthz.identity.origin import cookie_fault, subprotocol_fault
from extauthz.identity.providers import CookiePlace, HeaderPlace, Place, QueryPlace, WebsocketProtocolPlace
from extauthz.model import Deny, Reason, Request

__all__ = ["CredentialReader"]

_WEBSOCKET_HEADER = "sec-websocket-protocol"


Finding = Credential | Deny | None
_Finder = Callable[[Request], Finding]
_Spot = tuple[type[Place], str, str]
_Users = dict[frozenset[str] | None, frozenset[str]]
"""The providers that take tokens from one place, by the origins whose pages may use them there."""


class CredentialReader:
    """Finds the token of a request. Immutable, compiled once from the places of all providers."""

    __slots__ = ("_finders", "_names")

    def __init__(self, places: Mapping[str, Iterable[Place]], only: frozenset[str] | None = None) -> None:
        """Compile the places, given by provider name; with ``only`` those that one of these providers reads.

        What is found in a place may be of any provider that reads it: which of them counts is for the policies to say.
        """
        counted = {_spot(place) for name, its in places.items() if only is None or name in only for place in its}
        by_place: dict[Place, set[str]] = {}
        for provider, its_places in places.items():
            for place in its_places:
                if _spot(place) in counted:
                    by_place.setdefault(place, set()).add(provider)
        headers: dict[str, dict[str, set[str]]] = {}
        cookies: dict[str, _Users] = {}
        subprotocols: dict[str, _Users] = {}
        others: list[_Finder] = []
        for place, names in by_place.items():
            providers = frozenset(names)
            match place:
                case HeaderPlace(name, prefix):
                    headers.setdefault(name, {}).setdefault(_scheme(prefix), set()).update(names)
                case CookiePlace(name, origins):
                    cookies.setdefault(name, {})[origins] = providers
                case QueryPlace(name):
                    others.append(_Parameter(name, providers).find)
                case WebsocketProtocolPlace(prefix, origins):
                    subprotocols.setdefault(prefix, {})[origins] = providers
                case _:
                    assert_never(place)
        # The longest prefix first: of two that fit, it says more about what the value is.
        finders = [
            _Header(
                name, tuple(_Prefix(text, frozenset(prefixes[text])) for text in sorted(prefixes, key=len)[::-1])
            ).find
            for name, prefixes in headers.items()
        ]
        finders += [_Cookie(name, users).find for name, users in cookies.items()]
        finders += [_Subprotocol(prefix, users).find for prefix, users in subprotocols.items()]
        self._finders = (*finders, *others)
        self._names = (
            *(_header_name(name, prefixes) for name, prefixes in headers.items()),
            *(f"the cookie {name}" for name in cookies),
            *(f"websocket subprotocols that begin with {prefix}" for prefix in subprotocols),
            *(f"the query parameter {place.name}" for place in by_place if isinstance(place, QueryPlace)),
        )

    def find(self, request: Request) -> Finding:
        """The token; None if there is no credential in any place; ``Deny`` if there is not exactly one usable."""
        found: Credential | None = None
        for finder in self._finders:
            finding = finder(request)
            if finding is None:
                continue
            if isinstance(finding, Deny):
                return finding
            if found is not None:
                return _ambiguous("there is a token in more than one place")
            found = finding
        return found

    def look(self, request: Request) -> Iterator[tuple[str, Finding]]:
        """What is in each place, in the order in which ``find`` looks at them; the name of the place is for people."""
        for name, finder in zip(self._names, self._finders, strict=True):
            yield name, finder(request)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """One way in which a header's value may begin."""

    text: str
    """Ends in one space and is lower case if it is a scheme."""
    providers: frozenset[str]

    def token_of(self, value: str) -> str | None:
        """What follows the prefix; None if the value begins with something else."""
        if not self.text.endswith(" "):
            return value[len(self.text) :] if value.startswith(self.text) else None
        scheme, _, rest = value.partition(" ")
        return rest.strip(" ") if scheme.lower() == self.text[:-1] else None


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    prefixes: tuple[_Prefix, ...]

    def find(self, request: Request) -> Finding:
        values = request.headers.get(self.name)
        if values is None:
            return None
        if len(values) != 1 or "," in values[0]:
            return _ambiguous(f"the header {self.name} has more than one value")
        for prefix in self.prefixes:
            token = prefix.token_of(values[0])
            if token is not None:
                if token and " " not in token:
                    return Credential(token, prefix.providers)
                return _not_single(f"the header {self.name}")
        return Deny(
            Reason.CREDENTIALS_INVALID, f"the header {self.name} holds no kind of credentials that is configured"
        )


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    users: _Users

    def find(self, request: Request) -> Finding:
        lines = request.headers.get("cookie")
        if lines is None or not any(self.name in line for line in lines):
            return None
        # HTTP/2 may split the header (RFC 9113 section 8.2.3); map mode joins what was split by a comma.
        text = ";".join(lines)
        where = f"the cookie {self.name}"
        found = _unanimous(_values(text, ";", self.name), _values(text, ";,", self.name), where, frozenset())
        return _for_users(found, self.users, request, cookie_fault)


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    providers: frozenset[str]

    def find(self, request: Request) -> Finding:
        if not request.query:
            return None
        where = f"the query parameter {self.name}"
        strict = _values(request.query, "&", self.name, decode=unquote_plus)
        lenient = _values(request.query, "&;", self.name, decode=unquote_plus)
        found = _unanimous(strict, lenient, where, self.providers)
        if not isinstance(found, Credential):
            return found
        names = (piece.partition("=")[0] for piece in request.query.split("&"))
        return replace(found, parameter=next(name for name in names if unquote_plus(name) == self.name))


@dataclass(frozen=True, slots=True)
class _Subprotocol:
    prefix: str
    users: _Users

    def find(self, request: Request) -> Finding:
        if not request.websocket or _WEBSOCKET_HEADER not in request.headers:
            return None
        words = [word.strip() for word in ",".join(request.headers[_WEBSOCKET_HEADER]).split(",")]
        tokens = [word[len(self.prefix) :] for word in words if word.startswith(self.prefix)]
        found = _unanimous(tokens, tokens, f"the header {_WEBSOCKET_HEADER}", frozenset())
        return _for_users(found, self.users, request, subprotocol_fault)


def _spot(place: Place) -> _Spot:
    """What makes two places the same one, whoever reads them."""
    match place:
        case HeaderPlace(name, prefix):
            return HeaderPlace, name, _scheme(prefix)
        case CookiePlace(name) | QueryPlace(name) | WebsocketProtocolPlace(name):
            return type(place), name, ""
        case _:
            assert_never(place)


def _header_name(name: str, prefixes: Iterable[str]) -> str:
    """A header with the prefixes that its value may have."""
    written = [repr(prefix) for prefix in sorted(prefixes) if prefix]
    return f"the header {name}" + (f" ({' or '.join(written)} and a credential)" if written else "")


def _scheme(prefix: str) -> str:
    """A header's prefix in one spelling: that of a scheme is lower case and ends in one space."""
    return prefix.rstrip(" ").lower() + " " if prefix.endswith(" ") else prefix


def _for_users(
    found: Finding, users: _Users, request: Request, fault_of: Callable[[Request, frozenset[str] | None], str]
) -> Finding:
    """A credential that a browser sent, for those providers whose origins fit."""
    if not isinstance(found, Credential):
        return found
    fault = ""
    providers: frozenset[str] = frozenset()
    for origins, names in users.items():
        wrong = fault_of(request, origins)
        if wrong:
            fault = wrong
        else:
            providers |= names
    return Credential(found.token, providers) if providers else Deny(Reason.CREDENTIALS_INVALID, fault)


def _values(text: str, separators: str, name: str, decode: Callable[[str], str] = str.strip) -> list[str]:
    """The values of all ``name=value`` pieces with that name."""
    for other in separators[1:]:
        text = text.replace(other, separators[0])
    pairs = (piece.partition("=") for piece in text.split(separators[0]))
    return [decode(value) for written, _, value in pairs if decode(written) == name]


def _unanimous(strict: Sequence[str], lenient: Sequence[str], where: str, providers: frozenset[str]) -> Finding:
    """The token, if every way to split finds the same one."""
    if not lenient:
        return None
    if len(lenient) != 1 or list(strict) != list(lenient):
        return _ambiguous(f"{where} can be read in more than one way")
    token = lenient[0]
    return Credential(token, providers) if token and " " not in token else _not_single(where)


def _not_single(where: str) -> Deny:
    return Deny(Reason.TOKEN_MALFORMED, f"{where} does not hold exactly one token")


def _ambiguous(detail: str) -> Deny:
    return Deny(Reason.CREDENTIALS_AMBIGUOUS, detail)
