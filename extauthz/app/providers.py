"""The configured providers, compiled into those of ``extauthz.identity``: who vouches for callers, and what tokens may say.

What only shows when values meet the world (a key file that can't be used) becomes a ``ConfigError`` here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from extauthz import config as written
from extauthz.app.directories import open_directory
from extauthz.capture import CredentialPlaces
from extauthz.errors import ConfigError, KeySetError, Position, Problem
from extauthz.identity import (
    OWN_ALGORITHMS,
    RFC9068_CLAIMS,
    ApiKeyProvider,
    Authenticator,
    BasicProvider,
    CacheLimits,
    ClaimPath,
    ClientKey,
    ClientSecret,
    CookiePlace,
    Discovery,
    Fetcher,
    FetchSettings,
    FileKeys,
    HeaderPlace,
    InlineKeys,
    IntrospectionProvider,
    JwtProvider,
    KeySource,
    MeshProvider,
    OwnKeys,
    Place,
    Provider,
    QueryPlace,
    RemoteKeys,
    RoleRules,
    SecretFile,
    WebsocketProtocolPlace,
    included_roles,
    told_identity,
)
from extauthz.model import Deny, Identity
from extauthz.workbench.lint import ProviderRoles

__all__ = ["authenticator", "credential_places", "jwt_providers", "provider_roles", "vouch"]

_ANY = "*"


def authenticator(
    config: written.Config, fetcher: Fetcher, now: Callable[[], float], own: OwnKeys | None = None
) -> Authenticator:
    """Who is asking. Local keys are read here; ``own`` has those of this process's own token service, if there is one.

    Raises ConfigError if they can't be used.
    """
    issuer = None if config.tokens is None else config.tokens.issuer
    providers = [_provider(provider, own, issuer) for provider in config.providers]
    try:
        return Authenticator(
            providers,
            config.roles.includes,
            fetcher=fetcher,
            now=now,
            token_cache=CacheLimits(
                config.token_cache.max_entries, config.token_cache.max_bytes, config.token_cache.max_age
            ),
        )
    except KeySetError as error:
        raise ConfigError([Problem(Position("providers"), str(error))]) from None


def jwt_providers(config: written.Config, own: OwnKeys | None = None) -> list[JwtProvider]:
    """The providers whose tokens say by themselves what they are; ``own`` as for ``authenticator``."""
    issuer = None if config.tokens is None else config.tokens.issuer
    built = [_provider(provider, own, issuer) for provider in config.providers if provider.jwt is not None]
    return [provider for provider in built if isinstance(provider, JwtProvider)]


def credential_places(config: written.Config) -> CredentialPlaces:
    """Where any of the providers looks for credentials."""
    places = [provider.places for provider in config.providers]
    return CredentialPlaces(
        headers=frozenset(header.name for place in places for header in place.headers),
        cookies=frozenset(name for place in places for name in place.cookies),
        parameters=frozenset(name for place in places for name in place.query),
    )


def vouch(config: written.Config) -> Callable[[str, Mapping[str, Any]], Identity | Deny]:
    """Whom a verified token of a provider with these claims proves, without any token.

    The function raises ValueError if the provider has no tokens, or the claims no subject.
    """
    providers = {provider.name: provider for provider in config.providers}

    def proves(name: str, claims: Mapping[str, Any]) -> Identity | Deny:
        provider = providers[name]
        source = provider.jwt or provider.introspection
        if source is None:
            message = f"provider {name!r} has no tokens with claims; write roles and subject instead"
            raise ValueError(message)
        issuer = str(claims.get("iss", source.issuer or ""))
        return told_identity(name, issuer, _roles(provider.roles), config.roles.includes, claims)

    return proves


def provider_roles(config: written.Config) -> list[ProviderRoles]:
    """Which roles callers of each provider can have, as far as the configuration tells."""
    includes = included_roles(config.roles.includes)
    return [
        ProviderRoles(provider.name, provider.mesh is not None, _possible_roles(provider, includes))
        for provider in config.providers
    ]


def _possible_roles(provider: written.Provider, includes: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
    rules = provider.roles
    if rules.may_grant is not None:
        given = frozenset(rules.may_grant)
    elif rules.unmapped == "drop" or provider.mesh is not None:
        given = frozenset(rules.map.values())
    else:
        return None
    return given.union(*(includes.get(role, ()) for role in given))


def _provider(provider: written.Provider, own: OwnKeys | None, own_issuer: str | None) -> Provider:
    if provider.introspection is not None:
        return _introspection(provider, provider.introspection)
    if provider.api_keys is not None:
        return _api_keys(provider, provider.api_keys)
    if provider.mesh is not None:
        return _mesh(provider, provider.mesh)
    if provider.basic is not None:
        return _basic(provider, provider.basic.ldap)
    jwt = provider.jwt
    if jwt is None:
        message = f"provider {provider.name!r} is of no kind"
        raise ConfigError([Problem(Position("providers"), message)])
    keys = own if jwt.issuer == own_issuer else None
    algorithms = frozenset(jwt.algorithms)
    return JwtProvider(
        name=provider.name,
        issuer=jwt.issuer,
        audiences=None if _ANY in jwt.audiences else frozenset(jwt.audiences),
        keys=_keys(jwt) if keys is None else keys,
        algorithms=algorithms if keys is None or "algorithms" in jwt.model_fields_set else OWN_ALGORITHMS,
        token_types=frozenset(kind.lower() for kind in jwt.token_types),
        clock_skew=jwt.clock_skew,
        max_lifetime=jwt.max_lifetime,
        required_claims=RFC9068_CLAIMS if jwt.profile == "rfc9068" else frozenset(),
        audience_claim=jwt.audience_claim,
        places=_places(provider.places),
        roles=_roles(provider.roles),
        fetch=_fetch(provider.fetch),
    )


def _introspection(provider: written.Provider, endpoint: written.Introspection) -> IntrospectionProvider:
    audiences = frozenset(endpoint.audiences or ())
    return IntrospectionProvider(
        name=provider.name,
        endpoint=endpoint.endpoint,
        client=_client(endpoint),
        issuer=endpoint.issuer,
        audiences=None if _ANY in audiences else audiences,
        subject_of_clients=endpoint.missing_subject == "clientId",
        clock_skew=endpoint.clock_skew,
        cache_max_age=endpoint.cache_max_age,
        inactive_max_age=endpoint.inactive_max_age,
        max_concurrent=endpoint.max_concurrent,
        timeout=endpoint.timeout,
        places=_places(provider.places),
        roles=_roles(provider.roles),
        fetch=_fetch(provider.fetch),
    )


def _client(endpoint: written.Introspection) -> ClientSecret | ClientKey:
    if endpoint.client_authentication != "privateKeyJwt":
        return ClientSecret(endpoint.client_id, endpoint.client_secret_file or "", endpoint.client_authentication)
    return ClientKey(
        endpoint.client_id,
        endpoint.private_key_file or "",
        audience=endpoint.assertion_audience or endpoint.issuer or endpoint.endpoint,
        algorithm=endpoint.algorithm or "RS256",
        key_id=endpoint.key_id,
    )


def _fetch(fetch: written.Fetch) -> FetchSettings:
    return FetchSettings(
        ca_file=fetch.ca_file,
        token_file=fetch.token_file,
        allow_private_addresses=fetch.allow_private_addresses,
        allow_http=fetch.allow_http,
    )


def _api_keys(provider: written.Provider, keys: written.ApiKeys) -> ApiKeyProvider:
    return ApiKeyProvider(
        name=provider.name,
        path=keys.file or keys.folder or "",
        folder=keys.file is None,
        prefix=keys.prefix,
        places=_places(provider.places),
        roles=_roles(provider.roles),
    )


def _basic(provider: written.Provider, ldap: written.Ldap) -> BasicProvider:
    roles = _roles(provider.roles)
    return BasicProvider(
        name=provider.name,
        issuer=ldap.url,
        directory=open_directory(provider.name, ldap),
        cache_max_age=ldap.cache_max_age,
        # What is the default for claims is where tokens have roles; a person has groups.
        roles=roles
        if "claims" in provider.roles.model_fields_set
        else replace(roles, claims=(ClaimPath(("groups",)),)),
    )


def _mesh(provider: written.Provider, mesh: written.Mesh) -> MeshProvider:
    xfcc = mesh.xfcc or written.Xfcc()
    return MeshProvider(
        name=provider.name,
        trust_domains=frozenset(mesh.trust_domains),
        other_principals=frozenset(mesh.other_principals),
        trusted_peers=frozenset(xfcc.trusted_peers),
        without_principal=xfcc.without_principal,
        # What is written for claims is what tokens have: a certificate holds no roles.
        roles=replace(_roles(provider.roles), claims=()),
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
    origins = None if places.allowed_origins is None else frozenset(places.allowed_origins)
    found += [CookiePlace(name, origins) for name in places.cookies]
    found += [QueryPlace(name) for name in places.query]
    if places.websocket_protocol is not None:
        found.append(WebsocketProtocolPlace(places.websocket_protocol, origins))
    return tuple(found)


def _roles(roles: written.ProviderRoles) -> RoleRules:
    return RoleRules(
        claims=tuple(ClaimPath(tuple(path)) for path in roles.claims),
        mapping=roles.map,
        may_grant=None if roles.may_grant is None else frozenset(roles.may_grant),
        keep_unmapped=roles.unmapped == "keep",
    )
