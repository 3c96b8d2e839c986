"""How the values of the providers must fit together, in each of them and among them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from extauthz.config.basic import basic_faults, basic_set_faults
from extauthz.config.faults import Fault
from extauthz.config.introspection_checks import introspection_faults, shared_place_faults
from extauthz.config.mesh import mesh_faults
from extauthz.config.providers import ApiKeys, FromPlaces, Jwt, Provider
from extauthz.config.urls import url_fault

__all__ = ["provider_faults", "provider_set_faults"]

_SOURCES = ("discovery", "jwksUri", "jwksFile", "jwks", "secretFile")
_KINDS = ("jwt", "introspection", "apiKeys", "mesh", "basic")
_NOT_FOR_TOKENS = {
    "cookie": "name the cookie under from.cookies",
    "sec-websocket-protocol": "use from.websocketProtocol",
    "host": "choose another header",
}

Path = tuple[str | int, ...]


def provider_faults(index: int, provider: Provider, *, any_audience: bool, own_issuer: str | None) -> Iterator[Fault]:
    """What is wrong with one provider; ``any_audience`` says that the risk of this name was accepted, ``own_issuer`` is that
    of this process's own token service, if there is one.
    """
    path: Path = ("providers", index)
    yield from _kind_faults(path, provider)
    if provider.jwt is not None:
        yield from _audience_faults((*path, "jwt"), provider.jwt, any_audience=any_audience)
        yield from _source_faults((*path, "jwt"), provider.jwt)
        yield from _profile_faults((*path, "jwt"), provider.jwt)
        if provider.jwt.issuer == own_issuer:
            yield from _own_faults((*path, "jwt"), provider.jwt)
        else:
            yield from _url_faults(path, provider, provider.jwt)
    if provider.introspection is not None:
        yield from introspection_faults(path, provider, provider.introspection, any_audience=any_audience)
    if provider.api_keys is not None:
        yield from _api_key_faults(path, provider, provider.api_keys)
    if provider.mesh is not None:
        yield from mesh_faults(path, provider, provider.mesh)
    if provider.basic is not None:
        yield from basic_faults(path, provider, provider.basic)
    yield from _place_faults((*path, "from"), provider.places)


def provider_set_faults(providers: Sequence[tuple[int, Provider]], *, count: int) -> Iterator[Fault]:
    """What is wrong among the providers, each given with its index; ``count`` includes those that can't be read."""
    yield from _repeats("name", [(("providers", index, "name"), provider.name) for index, provider in providers])
    yield from _repeats(
        "issuer",
        [(("providers", index, "jwt", "issuer"), provider.jwt.issuer) for index, provider in providers if provider.jwt]
        + [
            (("providers", index, "introspection", "issuer"), provider.introspection.issuer)
            for index, provider in providers
            if provider.introspection and provider.introspection.issuer
        ],
    )
    yield from shared_place_faults(providers)
    yield from basic_set_faults(providers)
    yield from _repeats(
        "prefix",
        [
            (("providers", index, "apiKeys", "prefix"), provider.api_keys.prefix)
            for index, provider in providers
            if provider.api_keys
        ],
    )
    meshes = [(("providers", index, "mesh"), provider.mesh) for index, provider in providers if provider.mesh]
    domains = [((*path, "trustDomains", i), name) for path, mesh in meshes for i, name in enumerate(mesh.trust_domains)]
    others = [
        ((*path, "otherPrincipals", i), name) for path, mesh in meshes for i, name in enumerate(mesh.other_principals)
    ]
    yield from _repeats("trust domain", domains)
    yield from _repeats("principal", others)
    for index, provider in providers:
        if count > 1 and provider.roles.may_grant is None:
            yield Fault(
                ("providers", index, "roles"),
                f"provider {provider.name!r} needs roles.mayGrant: with several providers each must say which roles it "
                "may give, or one could name the roles of another",
                "list its roles, as in roles: {mayGrant: [user]}",
            )


def kinds_of(provider: Provider) -> list[str]:
    """The kinds that an entry names; a sound one names exactly one."""
    return [
        field.alias
        for name, field in Provider.model_fields.items()
        if field.alias in _KINDS and getattr(provider, name) is not None
    ]


def _kind_faults(path: Path, provider: Provider) -> Iterator[Fault]:
    kinds = kinds_of(provider)
    if not kinds:
        yield Fault(path, f"provider {provider.name!r} has no kind", "say how it vouches for callers: jwt: {...}")
    elif len(kinds) > 1:
        yield Fault(
            (*path, kinds[1]),
            f"provider {provider.name!r} is of one kind, not both {' and '.join(kinds)}",
            "make two entries of it, each with its name",
        )


def _api_key_faults(path: Path, provider: Provider, keys: ApiKeys) -> Iterator[Fault]:
    if keys.file is None and keys.folder is None:
        yield Fault((*path, "apiKeys"), "does not say where the keys are", "give file or folder")
    elif keys.file is not None and keys.folder is not None:
        yield Fault((*path, "apiKeys", "folder"), "keys are in a file or in a folder, not in both", "remove one")
    if "claims" in provider.roles.model_fields_set:
        yield Fault((*path, "roles", "claims"), "API keys have no claims: their roles stand beside them", "remove it")
    if "fetch" in provider.model_fields_set:
        yield Fault((*path, "fetch"), "API keys are not fetched", "remove it")


def _audience_faults(path: Path, jwt: Jwt, *, any_audience: bool) -> Iterator[Fault]:
    if "*" not in jwt.audiences:
        return
    if len(jwt.audiences) > 1:
        yield Fault((*path, "audiences"), "'*' is any audience, so the others mean nothing", "remove one or the other")
    if not any_audience:
        yield Fault(
            (*path, "audiences"),
            "audiences ['*'] is dangerous: a token that was issued for any other service opens this one",
            "name the audiences of this service, or accept the risk at the top of the file: acceptRisks: [any-audience]",
        )


def _source_faults(path: Path, jwt: Jwt) -> Iterator[Fault]:
    values = (jwt.discovery, jwt.jwks_uri, jwt.jwks_file, jwt.jwks, jwt.secret_file)
    given = [name for name, value in zip(_SOURCES, values, strict=True) if value is not None]
    if len(given) > 1:
        yield Fault(
            (*path, given[-1]), f"keys can come from one source only, not from {' and '.join(given)}", "choose one"
        )
        return
    if jwt.encoding and not jwt.secret_file:
        yield Fault((*path, "encoding"), "encoding says how secretFile is written, and there is none", "remove it")
    if jwt.secret_file and jwt.algorithms != ("HS256",):
        yield Fault(
            (*path, "algorithms"), "with secretFile the algorithm is HS256 alone", "write [HS256], or remove it"
        )
    elif not jwt.secret_file and "HS256" in jwt.algorithms:
        hint = "remove it, or give the secret with secretFile" if len(jwt.algorithms) == 1 else "remove it"
        yield Fault((*path, "algorithms"), "HS256 takes a secret, and this provider has public keys", hint)


def _own_faults(path: Path, jwt: Jwt) -> Iterator[Fault]:
    """What is wrong with a provider for the tokens of this process's own token service."""
    for name, value in zip(_SOURCES[1:], (jwt.jwks_uri, jwt.jwks_file, jwt.jwks, jwt.secret_file), strict=True):
        if value is not None:
            yield Fault(
                (*path, name),
                "the token service of this configuration has this issuer, and its own keys are used",
                f"remove {name}",
            )


def _profile_faults(path: Path, jwt: Jwt) -> Iterator[Fault]:
    if jwt.profile is None:
        return
    if jwt.token_types != ("at+jwt",):
        yield Fault((*path, "tokenTypes"), "with profile rfc9068 the token type is at+jwt alone", "remove it")
    if jwt.audience_claim != "aud":
        yield Fault((*path, "audienceClaim"), "tokens of profile rfc9068 have their audience in aud", "remove it")


def _url_faults(path: Path, provider: Provider, jwt: Jwt) -> Iterator[Fault]:
    """What is wrong with the URL that keys are fetched from, if any."""
    if jwt.jwks_uri is not None:
        key, url = "jwksUri", jwt.jwks_uri
    elif jwt.jwks_file or jwt.jwks or jwt.secret_file:
        return
    else:
        key, url = "issuer", jwt.issuer
    where = (*path, "jwt", key)
    fault = url_fault(url)
    if fault:
        why = "" if key == "jwksUri" else "keys are found by discovery at the issuer, but "
        hint = "" if key == "jwksUri" else "give the keys with jwksUri, jwksFile, jwks or secretFile"
        yield Fault(where, f"{why}{key} {fault}", hint)
    elif urlsplit(url).scheme == "http":
        if not provider.fetch.allow_http:
            yield Fault(
                where,
                "keys fetched over plain http can be replaced by anyone on the way, who can then be anybody",
                "use https, or accept it for this provider with fetch: {allowHttp: true}",
            )
        elif provider.fetch.token_file:
            yield Fault((*path, "fetch", "tokenFile"), "the token would be sent over plain http", "use https")


def _place_faults(path: Path, places: FromPlaces) -> Iterator[Fault]:
    if not (places.headers or places.cookies or places.query or places.websocket_protocol):
        yield Fault(path, "names no place that tokens could be in", "remove it for the default: authorization: Bearer")
    for index, header in enumerate(places.headers):
        where = (*path, "headers", index)
        if header.name in _NOT_FOR_TOKENS:
            yield Fault((*where, "name"), f"{header.name} can't carry a token", _NOT_FOR_TOKENS[header.name])
        if header.name == "authorization" and not header.prefix.endswith(" "):
            yield Fault(
                (*where, "prefix") if header.prefix else where,
                "authorization holds a scheme, a space and the token, so the prefix ends with a space",
                'write prefix: "Bearer "',
            )
    headers = [f"{header.name}: {header.prefix}".rstrip() for header in places.headers]
    yield from _repeats("header", [((*path, "headers", i), header) for i, header in enumerate(headers)])
    yield from _repeats("cookie", [((*path, "cookies", i), name) for i, name in enumerate(places.cookies)])
    yield from _repeats("parameter", [((*path, "query", i), name) for i, name in enumerate(places.query)])
    if places.allowed_origins and not places.cookies and not places.websocket_protocol:
        yield Fault(
            (*path, "allowedOrigins"), "is about cookies and websocketProtocol, and there is neither", "remove it"
        )


def _repeats(what: str, named: Iterable[tuple[Path, str]]) -> Iterator[Fault]:
    seen: Counter[str] = Counter()
    for path, name in named:
        seen[name] += 1
        if seen[name] > 1:
            yield Fault(path, f"{what} {name!r} is already there", "each can be given once")
