"""Roles: from the claims of a verified token to the words that policies use.

Four steps, always in this order. Claims are read by path; foreign names are mapped to ours (a name without an entry
stays as it is, or gives no role: as the provider says); of the result only what the provider may give (``mayGrant``) is kept; inclusion adds what the kept roles
contain. ``anonymous`` drops out at every step: it is the role of callers who proved nothing.

Nothing is coerced. A claim that is absent gives no role; a claim that is there with another type than a string or a list
of strings is an error (``claim-invalid``), since an issuer that changed its format should be noticed, not guessed at. A
string is one role, so that "billing admin" is no admin; only claims named ``scope`` or ``scp`` are split on spaces
(RFC 6749 section 3.3).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, NamedTuple

from extauthz.model import ANONYMOUS, EMPTY

__all__ = [
    "MAX_ROLES",
    "NO_ROLES",
    "ClaimPath",
    "Grant",
    "RoleError",
    "RoleReader",
    "RoleRules",
    "included_roles",
    "scopes_of",
]

MAX_ROLES = 256
"""More than this after ``mayGrant`` is refused: the set travels with every decision."""

_NOBODYS = ("", ANONYMOUS)
"""Roles that nobody can be given: none, and that of callers without credentials."""
_SPLIT_CLAIMS = frozenset({"scope", "scp"})


class RoleError(Exception):
    """A claim that should hold roles or scopes has a wrong type. Never leaves this room."""


@dataclass(frozen=True, slots=True)
class ClaimPath:
    """Where in the claims roles are: literal member names from the outside in."""

    segments: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a path with nothing in it."""
        if not self.segments or not all(self.segments):
            message = "a claim path needs at least one name, and no empty one"
            raise ValueError(message)

    @classmethod
    def parse(cls, written: str | Sequence[str]) -> "ClaimPath":
        """Read a path as it is written: a string is split on dots, a list is taken literally.

        ``"realm_access.roles"`` is ``roles`` inside ``realm_access``; ``["https://example.com/roles"]`` is one name.

        Raises:
            ValueError: The path is empty or has an empty part.
        """
        return cls(tuple(written.split(".") if isinstance(written, str) else written))

    def __str__(self) -> str:
        """The path for people."""
        return " > ".join(self.segments)


@dataclass(frozen=True, slots=True)
class RoleRules:
    """How one provider's claims become roles."""

    claims: tuple[ClaimPath, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Foreign role or group name -> our role."""
    may_grant: frozenset[str] | None = None
    """The roles that the provider may give, after mapping; None: any."""
    keep_unmapped: bool = True
    """A foreign name without an entry stays as it is; False: it gives no role."""


NO_ROLES = RoleRules()
"""Tokens prove who the caller is, and give no role."""


class Grant(NamedTuple):
    """A name in the claims, and what the provider's rules make of it."""

    claim: ClaimPath
    """Where it was."""
    name: str
    role: str
    """What it is mapped to; empty if it gives no role."""
    kept: bool
    """Whether the provider may give that role."""


class RoleReader:
    """Reads the roles of one provider's tokens. Immutable, compiled once."""

    __slots__ = ("_included", "_rules")

    def __init__(self, rules: RoleRules, included: Mapping[str, frozenset[str]]) -> None:
        """Keep the rules and the closure that ``included_roles`` made."""
        self._rules = rules
        self._included = included

    def roles(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """All roles of the caller.

        Raises:
            RoleError: A claim has a wrong type, or there are too many roles.
        """
        roles = {role for _, _, role, kept in self._grants(claims) if kept}
        if len(roles) > MAX_ROLES:
            message = f"the token gives more than {MAX_ROLES} roles"
            raise RoleError(message)
        for role in tuple(roles):
            roles |= self._included.get(role, frozenset())
        return frozenset(roles)

    @property
    def claims(self) -> tuple[ClaimPath, ...]:
        """Where it looks for names."""
        return self._rules.claims

    def grants(self, claims: Mapping[str, Any]) -> Iterator[Grant]:
        """Every name in the claims, in order, with the role that it gives or not.

        Raises:
            RoleError: A claim has a wrong type; what came before it was given.
        """
        return starmap(Grant, self._grants(claims))

    def included(self, role: str) -> frozenset[str]:
        """The roles that a role contains."""
        return self._included.get(role, frozenset())

    def _grants(self, claims: Mapping[str, Any]) -> Iterator[tuple[ClaimPath, str, str, bool]]:
        mapping, may_grant, keep = self._rules.mapping, self._rules.may_grant, self._rules.keep_unmapped
        for path in self._rules.claims:
            for name in _names(claims, path):
                role = mapping.get(name, name if keep else "")
                yield path, name, role, (may_grant is None or role in may_grant) and role not in _NOBODYS


def included_roles(includes: Mapping[str, Sequence[str]]) -> Mapping[str, frozenset[str]]:
    """For each role that includes others, all that it includes, directly or through others.

    Raises:
        ValueError: A role includes itself, if only through others, or ``anonymous`` takes part.
    """
    if ANONYMOUS in includes or any(ANONYMOUS in inner for inner in includes.values()):
        message = f"the role {ANONYMOUS!r} can neither include roles nor be included"
        raise ValueError(message)
    closed: dict[str, frozenset[str]] = {}
    for start in includes:
        _close(start, includes, closed)
    return closed


def _close(start: str, includes: Mapping[str, Sequence[str]], closed: dict[str, frozenset[str]]) -> None:
    """Fill ``closed`` for a role and all below it; without recursion, so that a long chain can't exhaust the stack."""
    trail: dict[str, Iterator[str]] = {start: iter(includes[start])} if start not in closed else {}
    while trail:
        role = next(reversed(trail))
        below = next((inner for inner in trail[role] if inner in includes and inner not in closed), None)
        if below is None:
            del trail[role]
            direct = includes[role]
            closed[role] = frozenset(direct).union(*(closed.get(inner, frozenset()) for inner in direct))
        elif below in trail:
            names = list(trail)
            message = "roles include each other in a circle: " + " > ".join([*names[names.index(below) :], below])
            raise ValueError(message)
        else:
            trail[below] = iter(includes[below])


def scopes_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The scopes of a token, from ``scope`` (RFC 8693 section 4.2: a string) and ``scp`` (a string or a list), in order.

    Raises:
        RoleError: One of them has a wrong type.
    """
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        message = "scope is not a string"
        raise RoleError(message)
    words = [*scope.split(" "), *_words(claims["scp"], "scp")] if "scp" in claims else scope.split(" ")
    return tuple(dict.fromkeys(word for word in words if word))


def _names(claims: Mapping[str, Any], path: ClaimPath) -> Iterable[str]:
    """The strings at a path; none if the path ends early."""
    value: Any = claims
    for segment in path.segments:
        if not isinstance(value, Mapping):
            message = f"the claim at {path} is not inside an object"
            raise RoleError(message)
        if segment not in value:
            return ()
        value = value[segment]
    return _words(value, str(path), split=path.segments[-1] in _SPLIT_CLAIMS)


def _words(value: object, name: str, *, split: bool = True) -> Iterable[str]:
    """A string or a list of strings, as strings."""
    if isinstance(value, str):
        return value.split(" ") if split else (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    message = f"the claim at {name} is neither a string nor a list of strings"
    raise RoleError(message)
