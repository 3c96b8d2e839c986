"""Envoy and Istio configuration for people who bring their own proxy.

The model: three templates, kept here as package data, with a handful of placeholders. They are not written by hand but
rendered from the typed configuration of the project's own mesh (`python -m mesh render`), so what a user is advised to
run is what the end-to-end tests run; a test proves that the two are equal.

- `envoy`: a whole bootstrap, hardened, with this authorization server and one upstream in it.
- `filter`: the ext_authz filter and its cluster, to paste into a configuration that exists.
- `istio`: the extension provider and the AuthorizationPolicy that uses it, with the traps as comments.

The trade-off: placeholders know nothing about Envoy. Everything that is filled in is therefore checked here first and
written as JSON, which every YAML reader understands and which no value can break out of.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from types import MappingProxyType

from extauthz.errors import ExtAuthzError

__all__ = ["HEADERS_ALLOWED", "EnvoyConfigError", "allowed_expression", "names", "render", "stripped_expression"]

HEADERS_ALLOWED = ("x-auth-*", "authorization", "cookie")
"""The default of the setting `headers.allowed`."""

CLIENT_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})
"""Allowed names that clients legitimately send. All others are ours alone, and the edge strips them."""

_HIGHEST_PORT = 65535
_ENDPOINT = re.compile(r" +- endpoint:\n +address: \$\{authz_address\}\n")
_NAME = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]+\*?\Z")


class EnvoyConfigError(ExtAuthzError):
    """What was asked for can't be written as an Envoy configuration."""


@dataclass(frozen=True, slots=True)
class _Kind:
    authz: str
    """The default address of the authorization server."""
    uses: frozenset[str]
    """What else may be filled in."""


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "envoy": _Kind("127.0.0.1:9000", frozenset({"listen", "upstream", "collector", "headers_allowed"})),
        "filter": _Kind("127.0.0.1:9000", frozenset({"headers_allowed"})),
        "istio": _Kind("extauthz.extauthz.svc.cluster.local:9000", frozenset()),
    }
)
_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"listen": "0.0.0.0:10000", "upstream": "127.0.0.1:8000", "collector": "127.0.0.1:4317"}
)


def names() -> tuple[str, ...]:
    """The kinds of configuration that can be rendered."""
    return tuple(_KINDS)


def render(
    kind: str,
    *,
    authz: Sequence[str] = (),
    listen: str | None = None,
    upstream: str | None = None,
    collector: str | None = None,
    headers_allowed: Sequence[str] | None = None,
) -> str:
    """Write one configuration as YAML text.

    Addresses are ``host:port`` or ``[v6]:port``; ``authz`` may be ``unix:/path`` except for Istio, and several, which are
    the endpoints of one cluster: replicas or workers. ``headers_allowed`` is the list of the setting ``headers.allowed``.
    Raises EnvoyConfigError for an unknown kind, an address or a name that isn't one, and for a value that this kind has
    no place for.
    """
    if kind not in _KINDS:
        message = f"{kind!r} is not a kind of configuration: choose one of {', '.join(_KINDS)}"
        raise EnvoyConfigError(message)
    given = {"listen": listen, "upstream": upstream, "collector": collector, "headers_allowed": headers_allowed}
    for name, value in given.items():
        if value is not None and name not in _KINDS[kind].uses:
            message = f"the {kind} configuration has no place for {name.replace('_', '-')}"
            raise EnvoyConfigError(message)
    allowed = HEADERS_ALLOWED if headers_allowed is None else headers_allowed
    values = {
        "allowed_expression": json.dumps(allowed_expression(allowed)),
        "stripped_expression": json.dumps(stripped_expression(allowed)),
    }
    for name, address in {**_DEFAULTS, **_given_addresses(given)}.items():
        values |= _placeholders(name, address, unix=False)
    servers = [_placeholders("authz", address, unix=kind != "istio") for address in authz or [_KINDS[kind].authz]]
    template = files(__package__).joinpath(f"{kind}.yaml").read_text("utf-8")
    return Template(_repeated(template, servers)).substitute({**values, **_discovered(servers)})


def _repeated(template: str, servers: Sequence[Mapping[str, str]]) -> str:
    """The template with one endpoint for each server."""
    found = _ENDPOINT.search(template)
    if found is None:
        if len(servers) > 1:
            message = "Istio finds all replicas by their Service: name one"
            raise EnvoyConfigError(message)
        return template
    endpoints = [found[0].replace("${authz_address}", server["authz_address"]) for server in servers]
    return template[: found.start()] + "".join(endpoints) + template[found.end() :]


def _discovered(servers: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """What is said once of all servers: how they are discovered."""
    kinds = {server["authz_type"] for server in servers}
    if len(kinds) > 1 and any("pipe" in server["authz_address"] for server in servers):
        message = "host names and unix sockets can't be endpoints of one cluster"
        raise EnvoyConfigError(message)
    return {**servers[0], "authz_type": max(kinds)}


def allowed_expression(names: Iterable[str]) -> str:
    """`headers.allowed` as a regular expression for `decoder_header_mutation_rules`: what the server may touch."""
    return "|".join(_escaped(name) for name in names)


def stripped_expression(names: Iterable[str]) -> str:
    """The names that clients must never get through, as a regular expression for the edge to remove.

    All of `headers.allowed` but the credentials, in every spelling that an upstream may read as the same name: CGI and
    WSGI fold `x-auth-user`, `x_auth_user` and `x.auth.user` into one variable. `x-auth-*` is always among them.
    """
    ours = dict.fromkeys(["x-auth-*", *(name for name in names if name not in CLIENT_HEADERS)])
    return "|".join(_escaped(name).replace("-", "[^a-z0-9]") for name in ours)


def _escaped(name: str) -> str:
    if not _NAME.match(name):
        message = f"{name!r} is neither a header name in lower case nor a prefix of one, such as x-auth-*"
        raise EnvoyConfigError(message)
    literal = re.escape(name.removesuffix("*")).replace(r"\-", "-")
    return f"{literal}.*" if name.endswith("*") else literal


def _given_addresses(given: Mapping[str, object]) -> dict[str, str]:
    return {name: str(given[name]) for name in _DEFAULTS if given[name] is not None}


def _placeholders(name: str, address: str, *, unix: bool) -> dict[str, str]:
    """What the templates may say about one address: the whole of it, its host, its port, how it is discovered."""
    path = address.removeprefix("unix:")
    if unix and path != address and path.startswith("/"):
        return {
            f"{name}_address": json.dumps({"pipe": {"path": path}}),
            f"{name}_type": "STATIC",
        }
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= _HIGHEST_PORT:
        message = f"{address!r} is not an address: write host:port" + (" or unix:/path" if unix else "")
        raise EnvoyConfigError(message)
    return {
        f"{name}_address": json.dumps({"socket_address": {"address": host, "port_value": int(port)}}),
        f"{name}_host": json.dumps(host),
        f"{name}_port": port,
        # STRICT_DNS would look a literal address up, STATIC would refuse a name.
        f"{name}_type": "STATIC" if _is_literal(host) else "STRICT_DNS",
    }


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
