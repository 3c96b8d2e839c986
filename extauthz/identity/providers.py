"""What the operator says about those who vouch for callers, as values.

A provider is one issuer of tokens: whom it calls itself, for whom its tokens must be meant, where its keys are, where in
a request its tokens travel, and which roles it may give. The values here are what ``extauthz.app`` compiles the
configuration into; they hold no behaviour but the refusal of combinations that could never be safe. Those refusals
(``ValueError``) are the second line: the configuration says the same with a file and a line.

Another kind of provider gets its own value beside ``JwtProvider`` and shares the places, the role rules and the fetch
settings.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from extauthz.identity.fetching import STRICT_FETCH, FetchSettings
from extauthz.identity.own_keys import OwnKeys
from extauthz.identity.roles import NO_ROLES, RoleRules

__all__ = [
    "ASYMMETRIC_ALGORITHMS",
    "DEFAULT_ALGORITHMS",
    "DEFAULT_PLACES",
    "DEFAULT_TOKEN_TYPES",
    "RFC9068_CLAIMS",
    "SYMMETRIC_ALGORITHMS",
    "CookiePlace",
    "Discovery",
    "FileKeys",
    "HeaderPlace",
    "InlineKeys",
    "JwtProvider",
    "KeySource",
    "Place",
    "ProviderState",
    "QueryPlace",
    "RemoteKeys",
    "SecretFile",
    "Wait",
    "WebsocketProtocolPlace",
]

ASYMMETRIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""RFC 7518 section 3.1 without HMAC and ``none``; EdDSA (RFC 8037) means Ed25519."""

SYMMETRIC_ALGORITHMS = frozenset({"HS256"})
"""Only with a local ``SecretFile``, and then alone; or by ``OwnKeys``."""

DEFAULT_ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})

DEFAULT_TOKEN_TYPES = frozenset({"at+jwt", "jwt", "absent"})
"""Normalised ``typ`` values (RFC 8725 section 3.11): lower case, without ``application/``; "absent" is a token that has none."""

RFC9068_CLAIMS = frozenset({"iss", "exp", "aud", "sub", "client_id", "iat", "jti"})
"""What each access token of that profile has (RFC 9068 section 2.2)."""

_MAX_CLOCK_SKEW = 600.0


@dataclass(frozen=True, slots=True)
class Discovery:
    """Keys are where ``<issuer>/.well-known/openid-configuration`` says (OpenID Connect Discovery 1.0 section 4)."""

    issuer: str


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """A JWK Set at a URL."""

    uri: str


@dataclass(frozen=True, slots=True)
class FileKeys:
    """A JWK Set in a file, read again when it changes."""

    path: str


@dataclass(frozen=True, slots=True)
class InlineKeys:
    """A JWK Set written into the configuration."""

    jwks: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A secret for HS256 in a file, read again when it changes."""

    path: str
    encoding: Literal["text", "base64"] = "text"
    """text: the bytes of the file without the last newline; base64: what they encode."""


KeySource = Discovery | RemoteKeys | FileKeys | InlineKeys | SecretFile | OwnKeys


@dataclass(frozen=True, slots=True)
class HeaderPlace:
    """A request header. A prefix that ends in a space is a scheme (RFC 9110 section 11.1): it is matched without regard
    to case, with one or more spaces after it. Any other prefix is matched as it is; an empty one takes the whole value.
    """

    name: str
    """Lower case."""
    prefix: str = "Bearer "

    def __post_init__(self) -> None:
        """Refuse a name that no header of a canonical request has."""
        if not self.name or self.name != self.name.lower():
            message = f"a header place needs a lower-case name, not {self.name!r}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class CookiePlace:
    """A cookie. Browsers send it by themselves, whoever made the page, so ``Origin`` must fit as well."""

    name: str
    origins: frozenset[str] | None = None
    """Whose pages may use it; None: those of the request's own host."""


@dataclass(frozen=True, slots=True)
class QueryPlace:
    """A query parameter. URLs end up in logs and histories (RFC 9700 section 4.3.2): only for what can't send a header."""

    name: str


@dataclass(frozen=True, slots=True)
class WebsocketProtocolPlace:
    """An element of ``sec-websocket-protocol`` that begins with a prefix, on websocket upgrades only: browsers can't set
    other headers there. The upgrade is judged once; how long it lives is for Envoy (``max_stream_duration``).
    """

    prefix: str
    origins: frozenset[str] | None = None
    """Whose pages may use it; None: any, since only who has the token can send it."""

    def __post_init__(self) -> None:
        """Refuse an empty prefix: every subprotocol would be a token."""
        if not self.prefix:
            message = "a websocketProtocol place needs a prefix"
            raise ValueError(message)


Place = HeaderPlace | CookiePlace | QueryPlace | WebsocketProtocolPlace

DEFAULT_PLACES: tuple[Place, ...] = (HeaderPlace("authorization", "Bearer "),)


@dataclass(frozen=True, slots=True)
class JwtProvider:
    """An issuer of JSON Web Tokens (RFC 7519).

    Raises:
        ValueError: The parts can't be safe together.
    """

    name: str
    issuer: str
    """Compared with ``iss`` by code points: a final slash counts."""
    audiences: frozenset[str] | None
    """One of these must be in ``aud``; None: tokens for any audience are taken (``["*"]``, a dangerous setting)."""
    keys: KeySource
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    token_types: frozenset[str] = DEFAULT_TOKEN_TYPES
    clock_skew: float = 60.0
    """Seconds that the issuer's clock and ours may differ."""
    max_lifetime: float | None = None
    """Seconds from ``iat`` to ``exp``, and from now to ``exp``, that a token may have at most; None: any."""
    required_claims: frozenset[str] = frozenset()
    """Claims that must be there besides ``iss``, ``exp``, ``sub`` and, with audiences, ``aud``; see ``RFC9068_CLAIMS``."""
    audience_claim: Literal["aud", "client_id"] = "aud"
    """Where the audience is. ``client_id`` is for issuers whose access tokens have no ``aud`` (Amazon Cognito): then
    ``audiences`` are the clients whose tokens are taken."""
    places: tuple[Place, ...] = DEFAULT_PLACES
    roles: RoleRules = NO_ROLES
    fetch: FetchSettings = STRICT_FETCH

    def __post_init__(self) -> None:
        """Refuse what no verifier could make safe."""
        if fault := _fault(self):
            message = f"provider {self.name!r}: {fault}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ProviderState:
    """How a provider's keys are doing, for /readyz and metrics."""

    name: str
    usable: bool
    """Tokens can be verified."""
    age_seconds: float | None
    """Since the keys were last known to be current; None if there are none."""
    error: str
    """What went wrong last, empty if the last attempt went well. Holds no secret."""
    retry_after: int = 0
    """Seconds until the next attempt, if something went wrong; 0: with the next request, or when a file changes."""
    own: bool = False
    """The keys are those of this process's own token service."""

    @property
    def sentence(self) -> str:
        """How it is, for people."""
        if self.error:
            return f"{self.error}; tried again in {self.retry_after} s" if self.retry_after else self.error
        if self.own:
            return "in use: the keys of this process's own token service"
        # What never changes, such as keys of the configuration, has no age.
        return f"in use, read {_ago(self.age_seconds)} ago" if self.age_seconds else "in use"


def _ago(seconds: float) -> str:
    """Coarse, as somebody would say it."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Wait:
    """What is missing before the caller can be known; ``extauthz.check`` awaits it within the request's deadline."""

    provider: str
    arrival: Callable[[], Awaitable[None]]
    what: str
    """``keys``, ``introspection`` or ``directory``: for traces and records."""

    def ready(self) -> Awaitable[None]:
        """Return when the missing part has arrived or is not going to. Cancelling it harms nobody else."""
        return self.arrival()


def _fault(provider: JwtProvider) -> str:
    """What is wrong with a provider; empty if nothing is."""
    checks = (
        (provider.name, "the name is empty"),
        (provider.issuer, "the issuer is empty"),
        (provider.audiences is None or (provider.audiences and all(provider.audiences)), "audiences are empty"),
        (provider.places, "there is no place where its tokens could be"),
        (
            math.isfinite(provider.clock_skew) and 0 <= provider.clock_skew <= _MAX_CLOCK_SKEW,
            f"clockSkew is not between 0 and {_MAX_CLOCK_SKEW:.0f} seconds",
        ),
        (
            provider.max_lifetime is None or (math.isfinite(provider.max_lifetime) and provider.max_lifetime > 0),
            "maxLifetime is not a number of seconds above 0",
        ),
        (
            provider.token_types and provider.token_types <= DEFAULT_TOKEN_TYPES,
            "tokenTypes are not among at+jwt, JWT and absent",
        ),
        (
            provider.algorithms and provider.algorithms <= ASYMMETRIC_ALGORITHMS | SYMMETRIC_ALGORITHMS,
            "algorithms are empty or not all known",
        ),
        (
            isinstance(provider.keys, OwnKeys)
            or (
                (provider.algorithms == SYMMETRIC_ALGORITHMS)
                if isinstance(provider.keys, SecretFile)
                else not (provider.algorithms & SYMMETRIC_ALGORITHMS)
            ),
            "HS256 goes with secretFile, and alone: a public key must never be taken for a secret",
        ),
        (
            not isinstance(provider.keys, Discovery) or provider.keys.issuer == provider.issuer,
            "keys are discovered at another issuer",
        ),
    )
    return next((fault for fine, fault in checks if not fine), "")
