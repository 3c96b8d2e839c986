"""All checks of values against each other, over as much of the configuration as could be read.

A person who mistyped one key should hear of a dangerous listener in the same run. So the configuration is checked with
the parts that could not be read left out, and only what concerns sound parts is told: a part is a listener, a provider,
or another section as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from extauthz.config.addresses import place
from extauthz.config.configuration import Config
from extauthz.config.faults import Fault
from extauthz.config.limits import limit_faults
from extauthz.config.listeners import CheckListener, Listen, Listener
from extauthz.config.provider_checks import provider_faults, provider_set_faults
from extauthz.config.sections import Decisions
from extauthz.config.token_checks import token_faults
from extauthz.config.vault import vault_faults

__all__ = ["Readable", "all_faults", "part"]

Path = tuple[str | int, ...]

_MAX_PORT = 65535


def part(path: Sequence[str | int]) -> Path:
    """The part of the configuration that a path leads into."""
    return tuple(path[: 2 if path[:1] in (("listen",), ("providers",)) else 1])


@dataclass(frozen=True, slots=True)
class Readable:
    """What could be read of a configuration."""

    config: Config
    """Unsound parts left out: listeners and sections have their defaults, providers are missing."""
    unsound: frozenset[Path]
    indexes: tuple[int, ...]
    """Of each provider in ``config``: where it stands in the list that was written."""
    providers: int
    """How many were written."""

    def sound(self, *path: str | int) -> bool:
        """Whether a part and what it is in could be read."""
        return not any(path[:length] in self.unsound for length in range(1, len(path) + 1))


def all_faults(readable: Readable) -> Iterator[Fault]:
    """Everything that does not fit together, in no order."""
    config = readable.config
    listeners = {
        name: listener for name, listener in _listeners(config.listen).items() if readable.sound("listen", name)
    }
    for name, listener in listeners.items():
        yield from _listener_faults(name, listener)
    yield from _collisions(listeners)
    if "check" in listeners:
        yield from _transport_faults(config.listen.check)
    any_audience = "any-audience" in config.accept_risks or not readable.sound("acceptRisks")
    providers = list(zip(readable.indexes, config.providers, strict=True))
    own_issuer = None if config.tokens is None else config.tokens.issuer
    for index, provider in providers:
        if not readable.sound("tokens") and provider.jwt is not None:
            # It may be meant for the service's own tokens: then advice on how to fetch keys would be bad advice.
            own_issuer = provider.jwt.issuer
        yield from provider_faults(index, provider, any_audience=any_audience, own_issuer=own_issuer)
    yield from provider_set_faults(providers, count=readable.providers)
    yield from _circles(config.roles.includes)
    if readable.sound("store") and readable.sound("limits"):
        yield from limit_faults(config, workers=config.worker_count if readable.sound("workers") else 1)
    if readable.sound("tokens") and readable.sound("store"):
        workers = config.worker_count if readable.sound("workers") else 1
        yield from token_faults(
            config,
            providers_sound=len(providers) == readable.providers,
            listen_sound=readable.sound("listen", "http"),
            workers=workers,
        )
    if readable.sound("vault"):
        yield from vault_faults(config, workers=config.worker_count if readable.sound("workers") else 1)
    if readable.sound("workers") and config.worker_count > 1:
        yield from _worker_faults(readable)
    yield from _log_faults(config.telemetry.decisions)


def _listeners(listen: Listen) -> dict[str, Listener]:
    """The listeners by their keys. That of the token service is not opened unless something is used on it, so its default
    takes no address from anybody.
    """
    http = {"http": listen.http} if "http" in listen.model_fields_set else {}
    return {"check": listen.check, **http, "admin": listen.admin}


def _listener_faults(name: str, listener: Listener) -> Iterator[Fault]:
    """What is wrong with one listener; ``name`` is its key under ``listen``."""
    path = ("listen", name)
    setting = ".".join(path)
    where = place(listener.address)
    if listener.tls and listener.plaintext:
        yield Fault((*path, "plaintext"), "plaintext and tls exclude each other", "remove one of them")
    elif not listener.tls and not listener.plaintext and not where.local:
        yield Fault(
            (*path, "address"),
            f"{where} can be reached from other machines and is plaintext: anyone on the way can read and forge what "
            "is said there",
            f"set {setting}.tls, take a loopback address or a unix socket, or, where a mesh encrypts this traffic, say "
            f"so with {setting}.plaintext: true",
        )
    if listener.socket_mode is not None and where.ip is not None:
        yield Fault((*path, "socketMode"), "only a unix socket has access rights", "remove it, or listen on unix:/path")
    if listener.tls and listener.tls.client_principals and not listener.tls.client_ca_file:
        yield Fault(
            (*path, "tls", "clientPrincipals"),
            "without clientCaFile no client shows a certificate",
            f"set {setting}.tls.clientCaFile to the authority that signs your proxies' certificates",
        )
    if listener.tls and listener.tls.client_certificates == "optional":
        where_optional = (*path, "tls", "clientCertificates")
        if name != "http":
            yield Fault(where_optional, "only listen.http knows who comes without a certificate", "remove it")
        elif not listener.tls.client_ca_file:
            yield Fault(
                where_optional,
                "without clientCaFile no client shows a certificate",
                f"set {setting}.tls.clientCaFile, or remove it",
            )


def _worker_faults(readable: Readable) -> Iterator[Fault]:
    """What can't be so with several processes."""
    config = readable.config
    count = config.worker_count
    if readable.sound("telemetry") and config.telemetry.decisions.sink == "stdout":
        yield Fault(
            ("telemetry", "decisions", "sink"),
            f"{count} workers that write long lines to one stdout would tear each other's",
            "write a file, to which each appends whole lines, or set workers: 1",
        )
    if not readable.sound("listen", "check"):
        return
    first = place(config.listen.check.address)
    if first.ip is not None and first.port + count - 1 > _MAX_PORT:
        yield Fault(
            ("listen", "check", "address"), f"{count} workers need as many ports from {first.port} on", "begin lower"
        )
        return
    for name, listener in _listeners(config.listen).items():
        other = place(listener.address)
        if name == "check" or not readable.sound("listen", name):
            continue
        for number in range(1, count):
            if first.ip is not None and first.port and replace(first, port=first.port + number).collides(other):
                yield Fault(
                    ("listen", name, "address"),
                    f"{other} is that of worker {number}: workers listen on {count} ports from {first.port} on",
                    "choose another port",
                )


def _log_faults(decisions: Decisions) -> Iterator[Fault]:
    """What a decision log can't do with its sink."""
    path = ("telemetry", "decisions")
    if decisions.rotate is not None and decisions.sink in ("none", "stdout", "otlp"):
        yield Fault(
            (*path, "rotate"), f"sink is {decisions.sink}, and only a file is rotated", "name a file, or remove it"
        )
    if decisions.when_full == "wait" and decisions.sink == "none":
        yield Fault((*path, "whenFull"), "there is no decision log to wait for", "set telemetry.decisions.sink")


def _transport_faults(listener: CheckListener) -> Iterator[Fault]:
    """What the native transport, asked for by name, can't do."""
    if listener.transport != "native":
        return
    lacking = {
        "tls": listener.tls is not None,
        "reflection": listener.reflection,
        "maxConnectionAge": listener.max_connection_age is not None,
    }
    for key, asked in lacking.items():
        if asked:
            yield Fault(
                ("listen", "check", "transport"), f"native can't do what {key} asks for", f"take auto, or remove {key}"
            )


def _collisions(listeners: Mapping[str, Listener]) -> Iterator[Fault]:
    """Listeners that want the same address."""
    places = {name: place(listener.address) for name, listener in listeners.items()}
    for (first, one), (name, other) in combinations(places.items(), 2):
        if one.collides(other):
            yield Fault(
                ("listen", name, "address"), f"{other} is taken by listen.{first} ({one})", "choose another port"
            )


def _circles(includes: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    """Roles that include themselves through any number of others: then all of them would be one role."""
    told: set[str] = set()
    for role in includes:
        trail = _way_back(role, includes)
        if trail and role not in told:
            told.update(trail)
            way = " > ".join([*trail, role])
            yield Fault(("roles", "includes", role), f"roles include each other in a circle: {way}", "break the circle")


def _way_back(start: str, includes: Mapping[str, Sequence[str]]) -> list[str]:
    """The roles on the shortest way from a role back to itself; empty if there is none."""
    trails = [[start]]
    seen: set[str] = set()
    for trail in trails:
        for role in includes.get(trail[-1], ()):
            if role == start:
                return trail
            if role not in seen:
                seen.add(role)
                trails.append([*trail, role])
    return []
