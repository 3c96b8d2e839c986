"""``providers``: who vouches for callers. Each entry is of one kind, and the kind's key names it.

The words are those of Istio's RequestAuthentication where it has one. What decides whether a token is believed is written
out or has a strict default: audiences must be given, algorithms come from here and never from the token, and a provider
can give only the roles that it may give. How the values fit together is checked in ``extauthz.config.provider_checks``,
so that all that is wrong with a provider is told at once.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extauthz.config.basic import Basic
from extauthz.config.durations import Duration
from extauthz.config.fields import AnyList, FilePath, HeaderName, ProviderName, Role, Section, SomeList, Text, one_of
from extauthz.config.introspection import Introspection
from extauthz.config.mesh import Mesh
from extauthz.documents import FieldError

__all__ = ["ApiKeys", "Fetch", "FromHeader", "FromPlaces", "Jwt", "Provider", "ProviderRoles"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256")
_NEVER_ACCESS = ("logout+jwt", "dpop+jwt", "secevent+jwt", "client-authentication+jwt", "token-introspection+jwt")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_KEY_PREFIX = re.compile(r"[a-z][a-z0-9]{1,14}_\Z")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")

_DEFAULT_FROM: dict[str, Any] = {
    "apiKeys": {"headers": [{"name": "x-api-key"}]},
    "basic": {"headers": [{"name": "authorization", "prefix": "Basic "}]},
}
"""Where credentials are if nothing is written, for the kinds that don't read ``authorization: Bearer``."""


def _token_type(written: str) -> str:
    kind = written.lower().removeprefix("application/")
    if kind in _NEVER_ACCESS:
        message = f"{written!r} tokens are never access tokens"
        raise FieldError(message, "see RFC 8725 section 3.11")
    if not _TYPE.match(kind):
        message = f"{written!r} is not a token type"
        raise FieldError(message, "known are: at+jwt, JWT, absent")
    return kind


def _claim_path(written: Any) -> Any:
    """A dotted path as its segments; a list is literal segments already."""
    return written.split(".") if isinstance(written, str) else written


def _segments(path: tuple[str, ...]) -> tuple[str, ...]:
    if not path or not all(path):
        message = "a claim path must not have empty segments"
        raise FieldError(message, 'write realm_access.roles, or [["https://x/roles"]] for a name with dots')
    return path


def _key_set(written: Any) -> Any:
    """Istio writes a key set as a string of JSON; a mapping is taken as well."""
    if isinstance(written, str):
        try:
            written = json.loads(written)
        except (ValueError, RecursionError):
            message = "is not JSON"
            raise FieldError(message, "write the key set as a mapping: jwks: {keys: [...]}") from None
    return written


def _public(key_set: dict[str, Any]) -> dict[str, Any]:
    keys = key_set.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        message = "is not a key set"
        raise FieldError(message, "a key set is {keys: [...]} with at least one key (RFC 7517 section 5)")
    if any(key.get("kty") == "oct" or "k" in key for key in keys):
        message = "holds a symmetric key"
        raise FieldError(message, "give it by file: secretFile")
    if any("d" in key for key in keys):
        message = "holds a private key"
        raise FieldError(message, "only the issuer may have it: leave out d, p, q, dp, dq and qi")
    return key_set


def _only_true(discovery: bool) -> bool:  # noqa: FBT001
    if not discovery:
        message = "can only be true"
        raise FieldError(message, "remove it, and say where the keys are with jwksUri, jwksFile, jwks or secretFile")
    return discovery


def _prefix(prefix: str) -> str:
    if not _TOKEN.match(prefix):
        message = "must be the beginning of a subprotocol name"
        raise FieldError(message, "such as bearer. for subprotocols bearer.<token>")
    return prefix


def _key_prefix(prefix: str) -> str:
    if not _KEY_PREFIX.match(prefix):
        message = "is not the prefix of API keys"
        raise FieldError(message, "2 to 15 lower-case letters and digits, the first a letter, and an underscore: eak_")
    return prefix


def _origin(origin: str) -> str:
    if not _ORIGIN.match(origin):
        message = f"{origin!r} is not an origin"
        raise FieldError(message, "as browsers send it: https://app.example.com, in lower case, without a final slash")
    return origin


ClaimPath = Annotated[
    AnyList[str],
    AfterValidator(_segments),
    BeforeValidator(_claim_path, json_schema_input_type=str | list[str]),
]
KeySet = Annotated[
    dict[str, Any],
    AfterValidator(_public),
    BeforeValidator(_key_set, json_schema_input_type=str | dict[str, Any]),
]


class Jwt(Section):
    """An issuer of JSON Web Tokens.

    Where its keys come from is said by at most one of `discovery`, `jwksUri`, `jwksFile`, `jwks` and `secretFile`; by
    none it is discovery.
    """

    issuer: Text
    """The `iss` of its tokens, compared character by character."""
    audiences: SomeList[Text]
    """A token must name one of these as its `aud`. `["*"]` takes tokens that were issued for others, and must be accepted
    in `acceptRisks`."""
    discovery: Annotated[bool, AfterValidator(_only_true)] | None = None
    """true: the keys are found by OpenID Connect discovery at the issuer. The default if no other source is given."""
    jwks_uri: Text | None = None
    """The URL of its key set."""
    jwks_file: FilePath | None = None
    """A file with its key set; read again when it changes."""
    jwks: KeySet | None = None
    """Its key set itself: public keys only, as a mapping or a string of JSON."""
    secret_file: FilePath | None = None
    """A file with the secret of HS256, at least 32 bytes. Whoever has it can issue tokens as well as check them."""
    encoding: Literal["text", "base64"] | None = None
    """How `secretFile` holds the secret. text (the default): its bytes without the last newline, as other libraries read
    what `openssl rand -base64 32` prints. base64: decoded."""
    algorithms: SomeList[Annotated[str, one_of(*_ALGORITHMS)]] = (
        "RS256",
        "ES256",
        "EdDSA",
    )
    """What its tokens may be signed with: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA; with
    `secretFile` HS256 alone, which then is the default."""
    token_types: Annotated[
        SomeList[Annotated[str, AfterValidator(_token_type)]],
        Field(validate_default=True),
    ] = ("at+jwt", "JWT", "absent")
    """Which `typ` access tokens may have, without regard to case and `application/`; `absent` stands for none. ID tokens
    are never taken. With `profile: rfc9068` it is at+jwt alone."""
    clock_skew: Annotated[float, Duration(0, 300)] = 60.0
    """How far the issuer's clock may be from ours."""
    max_lifetime: Annotated[float, Duration(1, 366 * 86_400)] | None = None
    """The longest that a token may live, from `iat` and from now to its `exp`. Absent: any time. A stolen token opens
    doors until its `exp`, so a bound protects against an issuer that gives out tokens for years."""
    profile: Literal["rfc9068"] | None = None
    """rfc9068: its tokens are JWT access tokens by that standard: `typ` at+jwt, and `iss`, `exp`, `aud`, `sub`,
    `client_id`, `iat` and `jti` all there. Absent: many issuers follow it in part only."""
    audience_claim: Literal["aud", "client_id"] = "aud"
    """The claim that `audiences` are compared with. client_id: for issuers whose access tokens have no `aud`, such as
    Amazon Cognito; `audiences` are then the clients whose tokens are taken."""

    @model_validator(mode="before")
    @classmethod
    def _profile_means_its_type(cls, written: Any) -> Any:
        if isinstance(written, dict) and written.get("profile") == "rfc9068" and "tokenTypes" not in written:
            return {**written, "tokenTypes": ["at+jwt"]}
        return written

    @model_validator(mode="before")
    @classmethod
    def _secret_means_hs256(cls, written: Any) -> Any:
        if isinstance(written, dict) and written.get("secretFile") is not None and "algorithms" not in written:
            return {**written, "algorithms": ["HS256"]}
        return written


class ApiKeys(Section):
    """Keys that were given out with `extauthz keys api create`. Their digests are in a file or in a folder of files."""

    file: FilePath | None = None
    """The file with the keys. Read again when it changes, effective within a second."""
    folder: FilePath | None = None
    """A folder of such files: its `*.yaml` and `*.yml`, and those of the folders in it (a Secret mounted for each key)."""
    prefix: Annotated[str, AfterValidator(_key_prefix)] = "eak_"
    """What the keys begin with. It picks this provider for a credential, and lets secret scanners find leaked keys."""


class FromHeader(Section):
    """A header that carries tokens."""

    name: HeaderName
    """In lower case."""
    prefix: str = ""
    """What stands before the token, `"Bearer "` for example."""


class FromPlaces(Section):
    """Where in a request tokens of a provider are: all places that are listed."""

    headers: AnyList[FromHeader] = ()
    """Headers."""
    cookies: AnyList[Annotated[Text, AfterValidator(_prefix)]] = ()
    """Names of cookies."""
    query: AnyList[Text] = ()
    """Names of query parameters. URLs end up in logs and browser histories: only for clients that can do nothing else."""
    websocket_protocol: Annotated[str, AfterValidator(_prefix)] | None = None
    """`bearer.`: the token is a websocket subprotocol `bearer.<token>`, as browsers can send it."""
    allowed_origins: SomeList[Annotated[str, AfterValidator(_origin)]] | None = None
    """Whose pages may use these cookies and subprotocols: the `Origin` of a request that carries its credential in one of
    them must be in the list. Absent: for cookies it must be the request's own host, for subprotocols, which no browser
    sends by itself, any. Without `Origin`, cookies count for GET, HEAD and OPTIONS alone, and for no websocket."""


class ProviderRoles(Section):
    """Which roles a provider gives."""

    claims: AnyList[ClaimPath] = (("roles",),)
    """Where in the token roles are. A string is a dotted path, a list is literal segments: `[["https://x/roles"]]`."""
    map: Annotated[dict[Text, Role], Field(default_factory=dict)]
    """From a foreign group or role to ours."""
    unmapped: Literal["keep", "drop"] = "keep"
    """What becomes of a name that is not in `map`. keep: it is a role as it is. drop: it gives no role; right where others
    choose the names (groups, namespaces), since one of them could choose the name of a role of ours."""
    may_grant: AnyList[Role] | None = None
    """The roles that this provider may give, after mapping; others are left out. Required as soon as there are two
    providers, since one of them could otherwise name the roles of the other."""


class Fetch(Section):
    """How a provider's keys are fetched, and its endpoint is asked. Redirects to other hosts are never followed."""

    ca_file: FilePath | None = None
    """Authorities to trust instead of the system's, PEM."""
    token_file: FilePath | None = None
    """A bearer token for the request, read each time: for the key set of Kubernetes' issuer."""
    allow_private_addresses: bool = False
    """true: the server may have a private, loopback or link-local address."""
    allow_http: bool = False
    """true: `http://` URLs. Whoever is on the way can then give keys of their own and be anybody."""


class Provider(Section):
    """Who vouches for callers."""

    name: ProviderName
    """What policies and metrics call it."""
    jwt: Jwt | None = None
    """The issuer of the tokens."""
    introspection: Introspection | None = None
    """An endpoint that is asked about opaque tokens."""
    api_keys: ApiKeys | None = None
    """Keys given out to programs."""
    mesh: Mesh | None = None
    """Proxies that vouch for their peers by certificate. It counts only for policies that name this provider."""
    basic: Basic | None = None
    """A directory of people with passwords."""
    places: Annotated[FromPlaces, Field(alias="from")] = FromPlaces(
        headers=(FromHeader(name="authorization", prefix="Bearer "),)
    )
    """Where in the request its tokens are."""
    roles: ProviderRoles = ProviderRoles()
    """Which roles it gives."""
    fetch: Fetch = Fetch()
    """How its keys and endpoints are reached."""

    @model_validator(mode="before")
    @classmethod
    def _places_of_the_kind(cls, written: Any) -> Any:
        if isinstance(written, dict) and "from" not in written:
            for kind, places in _DEFAULT_FROM.items():
                if kind in written:
                    return {**written, "from": places}
        return written
