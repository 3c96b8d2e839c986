"""``providers``: who vouches for callers. In this version each is a JWT issuer.

The words are those of Istio's RequestAuthentication where it has one. What decides whether a token is believed is written
out or has a strict default: audiences must be given, algorithms come from here and never from the token, and a provider
can give only the roles that it may give. How the values fit together is checked in ``extauthz.config.provider_checks``,
so that all that is wrong with a provider is told at once.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extauthz.config.durations import Duration
from extauthz.config.fields import AnyList, FilePath, HeaderName, ProviderName, Role, Section, SomeList, Text, one_of
from extauthz.documents import FieldError

__all__ = ["Fetch", "FromHeader", "FromPlaces", "Jwt", "Provider", "ProviderRoles"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256")
_NEVER_ACCESS = ("logout+jwt", "dpop+jwt", "secevent+jwt", "client-authentication+jwt", "token-introspection+jwt")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


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
    are never taken."""
    clock_skew: Annotated[float, Duration(0, 300)] = 60.0
    """How far the issuer's clock may be from ours."""

    @model_validator(mode="before")
    @classmethod
    def _secret_means_hs256(cls, written: Any) -> Any:
        if isinstance(written, dict) and written.get("secretFile") is not None and "algorithms" not in written:
            return {**written, "algorithms": ["HS256"]}
        return written


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


class ProviderRoles(Section):
    """Which roles a provider gives."""

    claims: AnyList[ClaimPath] = (("roles",),)
    """Where in the token roles are. A string is a dotted path, a list is literal segments: `[["https://x/roles"]]`."""
    map: Annotated[dict[Text, Role], Field(default_factory=dict)]
    """From a foreign group or role to ours; what is not in it keeps its name."""
    may_grant: AnyList[Role] | None = None
    """The roles that this provider may give, after mapping; others are left out. Required as soon as there are two
    providers, since one of them could otherwise name the roles of the other."""


class Fetch(Section):
    """How a provider's keys are fetched. Redirects to other hosts are never followed."""

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
    places: Annotated[FromPlaces, Field(alias="from")] = FromPlaces(
        headers=(FromHeader(name="authorization", prefix="Bearer "),)
    )
    """Where in the request its tokens are."""
    roles: ProviderRoles = ProviderRoles()
    """Which roles it gives."""
    fetch: Fetch = Fetch()
    """How its keys are reached."""
