"""The values that all rooms share: what was asked, who asks, and what was answered.

Everything here is an immutable value without behaviour of its own, so that any room may hold it, compare it and put it
into a test. The path of one request reads: ``AttributeContext`` (what the proxy sent, believed by nobody) ->
``Request`` (canonical, made by ``extauthz.check`` alone) -> ``Identity`` (made by ``extauthz.identity`` alone) ->
``Allow`` or ``Deny`` -> ``Decision``.

Expected refusals are ``Deny`` values and not exceptions: a caller can't forget to catch them, and each carries exactly
one ``Reason``. The table behind ``Reason`` is the one place that says which HTTP and gRPC code, which
``WWW-Authenticate`` error and which sentence belong to a reason; answers, logs, metrics and docs read it from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Any, NamedTuple, NewType, Self, TypeVar, dataclass_transform

__all__ = [
    "ANONYMOUS",
    "EMPTY",
    "Allow",
    "AttributeContext",
    "Charge",
    "Decision",
    "Deny",
    "HttpAttributes",
    "IPAddress",
    "Identity",
    "Peer",
    "Permit",
    "Rate",
    "Reason",
    "Request",
    "ShadowVerdict",
    "VerifiedClaims",
    "value",
]

ANONYMOUS = "anonymous"
"""The role of a caller without credentials; no token, map or include can give it."""

EMPTY: Mapping[str, Any] = MappingProxyType({})


IPAddress = IPv4Address | IPv6Address

VerifiedClaims = NewType("VerifiedClaims", Mapping[str, Any])
"""Claims whose signature, times, issuer and audience were checked. Only ``extauthz.identity`` makes one."""

_Made = TypeVar("_Made")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[_Made]) -> type[_Made]:
    """A frozen slotted dataclass, as far as the type checker goes; at run time nothing keeps its fields from being set.

    For what is made on every Check: Python makes a dataclass that is frozen at run time five times as slowly.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


def _empty() -> Mapping[str, Any]:
    return EMPTY


def _no_claims() -> VerifiedClaims:
    return VerifiedClaims(EMPTY)


class Reason(Enum):
    """Why a request was answered as it was: a kebab-case word that never changes meaning.

    ``http`` is the HTTP status of the answer, ``grpc`` the google.rpc.Code for gRPC callers and for
    ``CheckResponse.status``, ``challenge`` the ``error`` of ``WWW-Authenticate: Bearer`` (RFC 6750 section 3.1; an empty
    string asks for credentials without naming an error, None sends no challenge), ``sentence`` tells a person.
    """

    word: str
    http: int
    grpc: int
    challenge: str | None
    sentence: str

    def __new__(cls, word: str, http: int, grpc: int, challenge: str | None, sentence: str) -> Self:
        """Make the member from its row of the table."""
        member = object.__new__(cls)
        member._value_ = word
        member.word = word
        member.http = http
        member.grpc = grpc
        member.challenge = challenge
        member.sentence = sentence
        return member

    ALLOWED = ("allowed", 200, 0, None, "a rule allows the request")

    NO_CREDENTIALS = ("no-credentials", 401, 16, "", "the request carries no credentials, and needs them")
    CREDENTIALS_INVALID = (
        "credentials-invalid",
        401,
        16,
        "invalid_token",
        "the credentials are of no known kind, or nobody's",
    )
    TOKEN_MALFORMED = ("token-malformed", 401, 16, "invalid_token", "the token is not well-formed")
    TOKEN_EXPIRED = ("token-expired", 401, 16, "invalid_token", "the token has expired")
    TOKEN_NOT_YET_VALID = ("token-not-yet-valid", 401, 16, "invalid_token", "the token is not valid yet")
    TOKEN_REVOKED = ("token-revoked", 401, 16, "invalid_token", "the token was revoked")
    TOKEN_INACTIVE = ("token-inactive", 401, 16, "invalid_token", "its issuer says that the token is not active")
    SIGNATURE_INVALID = ("signature-invalid", 401, 16, "invalid_token", "the token's signature does not verify")
    ALGORITHM_NOT_ALLOWED = (
        "algorithm-not-allowed",
        401,
        16,
        "invalid_token",
        "the token's algorithm is not one that its provider allows",
    )
    KEY_UNKNOWN = ("key-unknown", 401, 16, "invalid_token", "the provider has no key that the token names")
    ISSUER_UNKNOWN = ("issuer-unknown", 401, 16, "invalid_token", "no provider is configured for the token's issuer")
    AUDIENCE_MISMATCH = ("audience-mismatch", 401, 16, "invalid_token", "the token was issued for another audience")
    CLAIM_INVALID = ("claim-invalid", 401, 16, "invalid_token", "a claim of the token is missing or has a wrong value")

    ROLE_MISSING = ("role-missing", 403, 7, None, "the caller has none of the roles that a rule asks for")
    NO_POLICY = ("no-policy", 403, 7, None, "no policy covers the request")
    NO_RULE = ("no-rule", 403, 7, None, "no rule of the policies that cover the request allows it")
    DENIED_BY_RULE = ("denied-by-rule", 403, 7, None, "a deny rule matches the request")
    CONDITION_ERROR = ("condition-error", 403, 7, None, "a rule's condition could not be evaluated")

    CREDENTIALS_AMBIGUOUS = (
        "credentials-ambiguous",
        400,
        3,
        "invalid_request",
        "the request carries more than one credential",
    )
    PATH_AMBIGUOUS = ("path-ambiguous", 400, 3, None, "two servers could read the request's path differently")
    HOST_INVALID = ("host-invalid", 400, 3, None, "the request's host is missing or not one host name")
    REQUEST_MALFORMED = ("request-malformed", 400, 3, None, "the request can't be read in one way only")

    RATE_LIMITED = ("rate-limited", 429, 8, None, "the caller's rate is used up")

    KEYS_UNAVAILABLE = ("keys-unavailable", 503, 14, None, "the keys of the token's provider could not be fetched")
    STORE_UNAVAILABLE = (
        "store-unavailable",
        503,
        14,
        None,
        "a store or service that the decision needs does not answer",
    )
    DEADLINE_EXCEEDED = ("deadline-exceeded", 503, 14, None, "there was no time left to decide")
    OVERLOADED = ("overloaded", 503, 14, None, "there are more requests than can be decided in time")

    INTERNAL_ERROR = ("internal-error", 500, 13, None, "the request could not be decided because of a fault")


@value
class Peer:
    """One end of the TCP connection, as Envoy's ``AttributeContext.Peer`` has it."""

    address: str = ""
    """An IP address without port; empty for a unix socket."""
    port: int = 0
    principal: str = ""
    """From a verified certificate: its first URI SAN, else its first DNS SAN, else its subject. Empty without one."""
    certificate: str = field(default="", repr=False)
    """That certificate as URL-encoded PEM, where the proxy sends it (``include_peer_certificate``). Nobody has read it."""


@value
class HttpAttributes:
    """The HTTP part of a Check as the proxy sent it."""

    id: str
    method: str
    path: str
    """Path and query as on the wire, not decoded."""
    host: str
    scheme: str
    protocol: str
    headers: Mapping[str, tuple[str, ...]]
    """Lower-case names, pseudo headers included, each with its values in order of arrival."""


@value
class AttributeContext:
    """A Check as the proxy sent it. Nothing in it has been judged yet."""

    source: Peer
    destination: Peer
    time: float
    """Start of the request, seconds since the epoch; 0 if the proxy did not say."""
    http: HttpAttributes | None
    """None for requests without HTTP part (the TCP filter)."""
    sni: str = ""
    context: Mapping[str, str] = field(default_factory=_empty)
    """``context_extensions`` of the route."""
    fault: str = ""
    """Why the message can't be read in one way only; empty if it can."""


@value
class Request:
    """A canonical request: the only form that identity and policy ever see."""

    http: bool
    """False for the TCP filter: then only the peers, ``sni`` and ``context`` mean anything."""
    id: str
    """``x-request-id`` if there is one, else Envoy's stream id. For correlation, never for decisions."""
    time: float
    method: str
    path: str
    """Canonical path without query. Empty for CONNECT and without HTTP."""
    query: str
    """The raw query string without ``?``."""
    host: str
    """Lower-case, without port and final dot; IPv6 in brackets."""
    scheme: str
    protocol: str
    headers: Mapping[str, tuple[str, ...]]
    """Lower-case names without pseudo headers, each with its values in order of arrival."""
    source: Peer
    destination: Peer
    source_ip: IPAddress | None
    client_ip: IPAddress | None
    """The client's address after ``clientAddress.trustedHops``; None if it can't be told."""
    sni: str
    context: Mapping[str, str]
    grpc: bool
    """The caller speaks gRPC (content-type ``application/grpc`` or ``application/grpc+...``)."""
    preflight: bool
    """A true CORS preflight: OPTIONS with Origin and Access-Control-Request-Method."""
    websocket: bool
    """A websocket upgrade, HTTP/1.1 or extended CONNECT (RFC 8441)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, proven."""

    subject: str
    issuer: str
    provider: str
    """The configured provider that vouches for the caller."""
    roles: frozenset[str]
    """After mapping, ``mayGrant`` and inclusion."""
    scopes: tuple[str, ...] = ()
    claims: VerifiedClaims = field(default_factory=_no_claims, repr=False)
    expires: float | None = None
    """Seconds since the epoch; None if the credential has no end."""
    query_parameter: str = ""
    """The query parameter that carried the credential, as it was spelled; empty if it was elsewhere."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a rule allows."""

    per_minute: int
    """Requests in any 60 seconds."""
    burst: int | None = None
    """Requests within one second; None: no such limit."""


class Charge(NamedTuple):
    """What an allowed request is charged to: made by ``extauthz.policy``, counted by a limiter of ``extauthz.limits``.

    A tuple for the same reason as ``Permit``.
    """

    key: bytes
    """16 bytes that stand for policy, rule and whose requests are counted together; not for the rate, which may change."""
    rate: Rate
    policy: str
    rule: str
    shadow: bool = False
    """``rateShadow``: counted and told, and never a reason to deny."""
    local_without_store: bool = False
    """While the shared store is down: True counts here, with the replica's part of the rate; False denies."""


class Permit(NamedTuple):
    """What a limiter says to one charge. A tuple, because one is made for each request and nothing is made faster."""

    granted: bool
    remaining: int
    """Requests that are left now."""
    reset: int
    """Whole seconds until some of what was used is back; 0 if nothing is used."""
    retry_after: int = 0
    """Whole seconds until the same charge could be granted; 0 if it was."""


@value
class Allow:
    """The request may pass. Only ``extauthz.policy`` makes one."""

    policy: str
    rule: str
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    charge: Charge | None = None
    """What must be granted before this is final; None: nothing."""

    @property
    def reason(self) -> Reason:
        """Always ``allowed``: no other reason can be in an allow."""
        return Reason.ALLOWED


@value
class Deny:
    """The request may not pass, and why.

    Raises:
        ValueError: The reason is ``allowed``.

    """

    reason: Reason
    detail: str = ""
    """What a person who runs the mesh needs besides the reason. For logs and explanations, never for the client; it
    holds no secret and no token."""
    policy: str = ""
    rule: str = ""
    provider: str = ""
    """The provider that refused the credentials, if one did."""
    retry_after: int | None = None
    """Seconds, for 429 and 503."""

    def __post_init__(self) -> None:
        """Refuse a denial that says allowed: wire would have to contradict one of the two."""
        if self.reason is Reason.ALLOWED:
            message = "a denial needs a reason other than 'allowed'"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ShadowVerdict:
    """What a policy or a rule that is in shadow mode would have made of a request. It is told and never acts."""

    policy: str
    rule: str
    """The rule that is in shadow mode; empty if the whole policy is."""
    verdict: Allow | Deny
    """Of a policy: the decision if it were the only one in force. Of a rule: the decision if it were in force too."""


@value
class Decision:
    """One finished Check: the verdict and what the record, the trace and the answer say of it."""

    id: str
    verdict: Allow | Deny
    generation: int
    """The policy snapshot that judged."""
    request: Request | None = None
    """None if the request had no canonical form."""
    identity: Identity | None = None
    grpc: bool = False
    """The caller speaks gRPC: the answer takes a form that it understands."""
    spent_parameter: str = ""
    """The query parameter that carried a credential, whoever was allowed in the end: the upstream does not see it."""
    shadows: tuple[ShadowVerdict, ...] = ()
    """What shadow policies, and shadow rules that match, would have said; sorted by policy, then rule."""
    found: Identity | Deny | None = None
    """What the request's credentials proved, or why they proved nothing; None: there were none, or nobody looked."""
    peer: Identity | Deny | None = None
    """What the connection proved to the mesh providers that a policy names."""
    charge: Charge | None = None
    """What a limiter refused to grant. Of an allow it is in the verdict."""
    permit: Permit | None = None
    """What a limiter said to the charge; None if none was asked, or it could not tell."""
