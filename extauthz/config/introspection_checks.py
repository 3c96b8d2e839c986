"""How the values of an introspection provider must fit together, and those of several."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from extauthz.config.faults import Fault
from extauthz.config.introspection import Introspection
from extauthz.config.providers import FromPlaces, Provider
from extauthz.config.urls import url_fault

__all__ = ["introspection_faults", "shared_place_faults"]

Path = tuple[str | int, ...]


def introspection_faults(
    path: Path, provider: Provider, introspection: Introspection, *, any_audience: bool
) -> Iterator[Fault]:
    """What is wrong with one provider; ``any_audience`` says that the risk of this name was accepted."""
    own = (*path, "introspection")
    yield from _endpoint_faults(own, provider, introspection)
    yield from _client_faults(own, introspection)
    if provider.fetch.token_file:
        yield Fault(
            (*path, "fetch", "tokenFile"), "the endpoint is told who asks by clientAuthentication", "remove tokenFile"
        )
    audiences = introspection.audiences or ()
    if "*" in audiences and len(audiences) > 1:
        yield Fault((*own, "audiences"), "'*' is any audience, so the others mean nothing", "remove one or the other")
    if "*" in audiences and not any_audience:
        yield Fault(
            (*own, "audiences"),
            "audiences ['*'] is dangerous: a token that was issued for any other service opens this one",
            "name the audiences of this service, or accept the risk at the top of the file: acceptRisks: [any-audience]",
        )


def shared_place_faults(providers: Sequence[tuple[int, Provider]]) -> Iterator[Fault]:
    """Places that two introspection providers look at: an opaque token does not say whose it is, and is never shown to
    somebody else to find out.
    """
    readers: dict[str, str] = {}
    for index, provider in providers:
        if provider.introspection is None:
            continue
        shared = {place: readers[place] for place in _places(provider.places) if place in readers}
        for place, reader in shared.items():
            yield Fault(
                ("providers", index),
                f"providers {reader!r} and {provider.name!r} both introspect what is in {place}, and an opaque token does "
                "not say whose it is",
                "tell them apart by their places: from",
            )
        readers |= dict.fromkeys(_places(provider.places), provider.name)


def _endpoint_faults(path: Path, provider: Provider, introspection: Introspection) -> Iterator[Fault]:
    where = (*path, "endpoint")
    if fault := url_fault(introspection.endpoint):
        yield Fault(where, f"endpoint {fault}")
    elif urlsplit(introspection.endpoint).scheme == "http" and not provider.fetch.allow_http:
        yield Fault(
            where,
            "over plain http anyone on the way can read the tokens and our secret, and answer in the issuer's place",
            "use https, or accept it for this provider with fetch: {allowHttp: true}",
        )


def _client_faults(path: Path, introspection: Introspection) -> Iterator[Fault]:
    method = introspection.client_authentication
    of_keys = {
        "privateKeyFile": introspection.private_key_file,
        "algorithm": introspection.algorithm,
        "keyId": introspection.key_id,
        "assertionAudience": introspection.assertion_audience,
    }
    if method == "privateKeyJwt":
        if introspection.private_key_file is None:
            yield Fault(path, f"clientAuthentication {method} needs a key", "give its file with privateKeyFile")
        if introspection.client_secret_file is not None:
            yield Fault((*path, "clientSecretFile"), f"clientAuthentication {method} uses no secret", "remove it")
        return
    if introspection.client_secret_file is None:
        yield Fault(path, f"clientAuthentication {method} needs a secret", "give its file with clientSecretFile")
    for word, value in of_keys.items():
        if value is not None:
            yield Fault(
                (*path, word),
                f"{word} is for clientAuthentication privateKeyJwt, and it is {method}",
                "remove it, or write clientAuthentication: privateKeyJwt",
            )


def _places(places: FromPlaces) -> Iterator[str]:
    """The places, as a person would name them; two spellings of one place are one."""
    for header in places.headers:
        scheme = header.prefix.endswith(" ")
        yield f"the header {header.name}: {header.prefix.rstrip(' ').lower() if scheme else header.prefix}".rstrip(": ")
    for cookie in places.cookies:
        yield f"the cookie {cookie}"
    for parameter in places.query:
        yield f"the query parameter {parameter}"
    if places.websocket_protocol is not None:
        yield f"the subprotocol {places.websocket_protocol}"
