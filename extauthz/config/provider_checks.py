"""How the values of the providers must fit together, in each of them and among them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from extauthz.config.faults import Fault
from extauthz.config.providers import FromPlaces, Jwt, Provider

__all__ = ["provider_faults", "provider_set_faults"]

_SOURCES = ("discovery", "jwksUri", "jwksFile", "jwks", "secretFile")
_NOT_FOR_TOKENS = {
    "cookie": "name the cookie under from.cookies",
    "sec-websocket-protocol": "use from.websocketProtocol",
    "host": "choose another header",
}

Path = tuple[str | int, ...]


def provider_faults(index: int, provider: Provider, *, any_audience: bool) -> Iterator[Fault]:
    """What is wrong with one provider; ``any_audience`` says that the risk of this name was accepted."""
    path: Path = ("providers", index)
    if provider.jwt is None:
        yield Fault(path, f"provider {provider.name!r} has no kind", "say how it vouches for callers: jwt: {...}")
    else:
        yield from _audience_faults((*path, "jwt"), provider.jwt, any_audience=any_audience)
        yield from _source_faults((*path, "jwt"), provider.jwt)
        yield from _url_faults(path, provider, provider.jwt)
    yield from _place_faults((*path, "from"), provider.places)


def provider_set_faults(providers: Sequence[tuple[int, Provider]], *, count: int) -> Iterator[Fault]:
    """What is wrong among the providers, each given with its index; ``count`` includes those that can't be read."""
    yield from _repeats("name", [(("providers", index, "name"), provider.name) for index, provider in providers])
    yield from _repeats(
        "issuer",
        [(("providers", index, "jwt", "issuer"), provider.jwt.issuer) for index, provider in providers if provider.jwt],
    )
    for index, provider in providers:
        if count > 1 and provider.roles.may_grant is None:
            yield Fault(
                ("providers", index, "roles"),
                f"provider {provider.name!r} needs roles.mayGrant: with several providers each must say which roles it "
                "may give, or one could name the roles of another",
                "list its roles, as in roles: {mayGrant: [user]}",
            )


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


def _url_faults(path: Path, provider: Provider, jwt: Jwt) -> Iterator[Fault]:
    """What is wrong with the URL that keys are fetched from, if any."""
    if jwt.jwks_uri is not None:
        key, url = "jwksUri", jwt.jwks_uri
    elif jwt.jwks_file or jwt.jwks or jwt.secret_file:
        return
    else:
        key, url = "issuer", jwt.issuer
    where = (*path, "jwt", key)
    fault = _url_fault(url)
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


def _url_fault(url: str) -> str:
    """Why a URL is not one that can be fetched. The URL is not repeated: it could hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host or any(character.isspace() for character in url):
        return "is not an https URL"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or a password"
    if parts.fragment:
        return "must not have a fragment"
    return ""


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


def _repeats(what: str, named: Iterable[tuple[Path, str]]) -> Iterator[Fault]:
    seen: Counter[str] = Counter()
    for path, name in named:
        seen[name] += 1
        if seen[name] > 1:
            yield Fault(path, f"{what} {name!r} is already there", "each can be given once")
