"""The configuration, compiled into the values of the rooms.

No room reads a ``Config``: each has its own value types, and what the operator wrote is translated here once, at start.
What only shows when values meet the world (a key file that can't be used) becomes a ``ConfigError`` here.
"""

from collections.abc import Callable

from extauthz import config as written
from extauthz.canonical import PathRules
from extauthz.check import RequestRules
from extauthz.errors import ConfigError, KeySetError, Position, Problem
from extauthz.identity import (
    Authenticator,
    ClaimPath,
    CookiePlace,
    Discovery,
    Fetcher,
    FetchSettings,
    FileKeys,
    HeaderPlace,
    InlineKeys,
    JwtProvider,
    KeySource,
    Place,
    QueryPlace,
    RemoteKeys,
    RoleRules,
    SecretFile,
    WebsocketProtocolPlace,
)
from extauthz.policy import PolicySettings
from extauthz.serving import Listener, TlsFiles, parse_address

__all__ = ["authenticator", "listener", "policy_settings", "request_rules"]

_ANY = "*"


def authenticator(config: written.Config, fetcher: Fetcher, now: Callable[[], float]) -> Authenticator:
    """Who is asking. Local keys are read here.

    Raises ConfigError if they can't be used.
    """
    providers = [_provider(provider) for provider in config.providers]
    try:
        return Authenticator(providers, config.roles.includes, fetcher=fetcher, now=now)
    except KeySetError as error:
        raise ConfigError([Problem(Position("providers"), str(error))]) from None


def policy_settings(config: written.Config) -> PolicySettings:
    """What the configuration says about policies."""
    return PolicySettings(
        group=config.policies.group,
        providers=frozenset(provider.name for provider in config.providers),
        allowed_headers=tuple(config.headers.allowed),
        case_insensitive_paths=config.request.case_insensitive_paths,
    )


def request_rules(config: written.Config) -> RequestRules:
    """What is refused of requests."""
    request = config.request
    return RequestRules(
        path=PathRules(
            normalize=request.normalize,
            encoded_slash=request.encoded_slash == "accept",
            double_encoding=request.double_encoding == "accept",
            parameters=request.path_parameters == "accept",
        ),
        method_override=request.method_override == "accept",
        sni_must_equal_host=request.sni_must_equal_host,
        trusted_hops=config.client_address.trusted_hops,
    )


def listener(settings: written.Listener) -> Listener:
    """Where one of the servers listens."""
    return Listener(
        address=parse_address(settings.address),
        plaintext=settings.plaintext,
        socket_mode=settings.socket_rights,
        tls=None if settings.tls is None else _tls(settings.tls),
    )


def _tls(tls: written.Tls) -> TlsFiles:
    return TlsFiles(
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        client_ca_file=tls.client_ca_file,
        client_principals=tuple(tls.client_principals or ()),
    )


def _provider(provider: written.Provider) -> JwtProvider:
    jwt = provider.jwt
    if jwt is None:
        message = f"provider {provider.name!r} is of no kind"
        raise ConfigError([Problem(Position("providers"), message)])
    return JwtProvider(
        name=provider.name,
        issuer=jwt.issuer,
        audiences=None if _ANY in jwt.audiences else frozenset(jwt.audiences),
        keys=_keys(jwt),
        algorithms=frozenset(jwt.algorithms),
        token_types=frozenset(kind.lower() for kind in jwt.token_types),
        clock_skew=jwt.clock_skew,
        places=_places(provider.places),
        roles=_roles(provider.roles),
        fetch=FetchSettings(
            ca_file=provider.fetch.ca_file,
            token_file=provider.fetch.token_file,
            allow_private_addresses=provider.fetch.allow_private_addresses,
            allow_http=provider.fetch.allow_http,
        ),
    )


def _keys(jwt: written.Jwt) -> KeySource:
    if jwt.jwks_uri is not None:
        return RemoteKeys(jwt.jwks_uri)
    if jwt.jwks_file is not None:
        return FileKeys(jwt.jwks_file)
    if jwt.jwks is not None:
        return InlineKeys(jwt.jwks)
    if jwt.secret_file is not None:
        return SecretFile(jwt.secret_file, jwt.encoding or "text")
    return Discovery(jwt.issuer)


def _places(places: written.FromPlaces) -> tuple[Place, ...]:
    found: list[Place] = [HeaderPlace(header.name, header.prefix) for header in places.headers]
    found += [CookiePlace(name) for name in places.cookies]
    found += [QueryPlace(name) for name in places.query]
    if places.websocket_protocol is not None:
        found.append(WebsocketProtocolPlace(places.websocket_protocol))
    return tuple(found)


def _roles(roles: written.ProviderRoles) -> RoleRules:
    return RoleRules(
        claims=tuple(ClaimPath(tuple(path)) for path in roles.claims),
        mapping=roles.map,
        may_grant=None if roles.may_grant is None else frozenset(roles.may_grant),
    )
