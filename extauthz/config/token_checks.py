"""How the values of the token service must fit together, and with the rest of the configuration."""

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from extauthz.config.faults import Fault
from extauthz.config.signing import signing_faults
from extauthz.config.tokens import TokenClient, Tokens
from extauthz.config.urls import url_fault

if TYPE_CHECKING:
    from extauthz.config.configuration import Config

__all__ = ["granted", "token_client_faults", "token_faults"]

Path = tuple[str | int, ...]

_PROOFS = ("secretFile", "secretFiles", "jwksFile", "certificateSubject")
_NO_TOKENS = ("mesh", "basic")
"""Kinds of providers whose callers have no token that somebody could bring."""


def granted(client: TokenClient) -> tuple[str, ...]:
    """The grants of a client, written or implied."""
    if client.grants is not None:
        return client.grants
    implied = ["tokenExchange"] * (client.exchange is not None)
    if not implied or client.refresh or client.renew:
        implied.append("clientCredentials")
    return (*implied, *(["refreshToken"] * client.refresh))


def token_faults(config: "Config", *, providers_sound: bool, listen_sound: bool, workers: int) -> Iterator[Fault]:
    """What is wrong with ``tokens``; the flags say which other sections could be read."""
    tokens = config.tokens
    if tokens is None:
        return
    yield from _issuer_faults(tokens)
    for index, client in enumerate(tokens.clients):
        yield from _client_faults(("tokens", "clients", index), client, tokens)
    counted = Counter(client.id for client in tokens.clients)
    seen: set[str] = set()
    for index, client in enumerate(tokens.clients):
        if counted[client.id] > 1 and client.id in seen:
            yield Fault(
                ("tokens", "clients", index, "id"), f"there is another client {client.id!r}", "choose another id"
            )
        seen.add(client.id)
    if providers_sound:
        yield from _exchange_faults(config, tokens)
        yield from _name_faults(config, tokens)
    if listen_sound:
        yield from _certificate_faults(config, tokens)
    yield from signing_faults(("tokens", "keys"), tokens.keys, longest_token=tokens.longest_token)
    if tokens.refresh.idle > tokens.refresh.lifetime:
        yield Fault(
            ("tokens", "refresh", "idle"), "is longer than refresh.lifetime, and so means nothing", "make it shorter"
        )
    if workers > 1 and config.store.url == "memory:":
        yield Fault(
            ("tokens",),
            f"{workers} workers would each keep refresh tokens and revocations for themselves: what one has revoked the "
            "others would accept",
            "set store.url to a store that they share, or workers: 1",
        )


def token_client_faults(config: "Config", tokens: Tokens, client: TokenClient) -> Iterator[Fault]:
    """What is wrong with a client that is registered in the store, as if it were the only one of the configuration."""
    path = ("tokens", "clients", 0)
    yield from _client_faults(path, client, tokens)
    yield from _exchange_faults(config, tokens.model_copy(update={"clients": (client,)}))


def _issuer_faults(tokens: Tokens) -> Iterator[Fault]:
    where, issuer = ("tokens", "issuer"), tokens.issuer
    if fault := url_fault(issuer):
        yield Fault(where, f"issuer {fault}", "such as https://auth.example.com")
        return
    parts = urlsplit(issuer)
    if parts.query or "?" in issuer:
        yield Fault(where, "an issuer has no query (RFC 8414 section 2)", "remove it")
    if issuer.endswith("/"):
        yield Fault(where, "paths are put behind the issuer, so it ends without a slash", f"write {issuer.rstrip('/')}")
    if parts.scheme == "http" and not _loopback(parts):
        yield Fault(
            where,
            "is plain http: whoever is on the way could read tokens and secrets, and give out keys as ours",
            "write https://, or a loopback address; TLS may end at a proxy before it",
        )


def _client_faults(path: Path, client: TokenClient, tokens: Tokens) -> Iterator[Fault]:
    values = (client.secret_file, client.secret_files, client.jwks_file, client.certificate_subject)
    proofs = [name for name, value in zip(_PROOFS, values, strict=True) if value is not None]
    if not proofs:
        yield Fault(path, f"client {client.id!r} has no way to prove who it is", f"give it one of {', '.join(_PROOFS)}")
    elif len(proofs) > 1:
        yield Fault(
            (*path, proofs[1]),
            f"client {client.id!r} proves who it is in one way, not by {' and '.join(proofs)}",
            "remove one, or make two clients of it",
        )
    elif "secret" not in proofs[0] and client.secret_in != "header":  # noqa: S105 - a place
        yield Fault((*path, "secretIn"), "the client has no secret", "remove it")
    if not client.audiences and not tokens.audiences:
        yield Fault(
            path,
            f"client {client.id!r} has no audiences: a token that is meant for nobody is accepted by nobody",
            "give it audiences, or all of them with tokens.audiences",
        )
    yield from _grant_faults(path, client)


def _grant_faults(path: Path, client: TokenClient) -> Iterator[Fault]:
    grants = granted(client)
    needed = {
        "refreshToken": ("refresh", client.refresh, "refresh: true"),
        "tokenExchange": ("exchange", client.exchange is not None, "exchange: {providers: [...]}"),
    }
    for word, (key, asked, example) in needed.items():
        if asked and word not in grants:
            yield Fault((*path, key), f"the client's grants have no {word}", f"add {word}, or remove {key}")
        elif word in grants and not asked:
            yield Fault((*path, "grants"), f"{word} does nothing without {key}", f"write {example}, or remove {word}")
    if "clientCredentials" in grants:
        return
    own = {"refresh": client.refresh, "renew": client.renew, "roles": bool(client.roles)}
    for key, written in own.items():
        if written:
            yield Fault(
                (*path, key),
                f"{key} is for the client's own tokens, and it gets none without clientCredentials",
                "add clientCredentials, or remove it",
            )


def _exchange_faults(config: "Config", tokens: Tokens) -> Iterator[Fault]:
    kinds = {provider.name: provider for provider in config.providers}
    for index, client in enumerate(tokens.clients):
        for place, name in enumerate(() if client.exchange is None else client.exchange.providers):
            path = ("tokens", "clients", index, "exchange", "providers", place)
            provider = kinds.get(name)
            if provider is None:
                known = ", ".join(sorted(kinds)) or "none is configured"
                yield Fault(path, f"there is no provider {name!r}", f"known are: {known}")
            elif provider.mesh is not None or provider.basic is not None:
                yield Fault(path, f"callers of provider {name!r} have no token to exchange", "name another provider")


def _name_faults(config: "Config", tokens: Tokens) -> Iterator[Fault]:
    """Providers of opaque tokens whose callers would pass for those of this service: by exchange they would keep their names."""
    for index, provider in enumerate(config.providers):
        asked = provider.introspection
        if asked is None or tokens.issuer not in (asked.issuer, asked.endpoint):
            continue
        yield Fault(
            ("providers", index, "introspection", "issuer" if asked.issuer == tokens.issuer else "endpoint"),
            "the token service of this configuration has this issuer, and knows its tokens itself",
            f"name it with jwt: {{issuer: {tokens.issuer}, ...}}",
        )


def _certificate_faults(config: "Config", tokens: Tokens) -> Iterator[Fault]:
    tls = config.listen.http.tls
    if tls is not None and tls.client_ca_file is not None:
        return
    for index, client in enumerate(tokens.clients):
        if client.certificate_subject is not None:
            yield Fault(
                ("tokens", "clients", index, "certificateSubject"),
                "no client shows a certificate to listen.http",
                "set listen.http.tls.clientCaFile to the authority that signs the clients' certificates",
            )


def _loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
