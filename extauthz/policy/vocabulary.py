"""What an expression may say: the names with their types, the functions, and the one environment that knows them.

Besides CEL's standard functions there are its extensions for strings, lists, math and optional values
(https://github.com/google/cel-go/tree/master/ext; the binding finds them by name), except what makes much from little
(``extauthz.policy.costs``), and one function of our own: ``inCidr(address, block)``. It is a Python function that the
evaluator calls back; what it raises is an error of the evaluation like any other. It reads addresses and blocks as
``remoteIpBlocks`` does, so that a rule means the same wherever it asks.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

from extauthz.canonical import canonical_address
from extauthz.policy.patterns import Network, read_network

__all__ = ["ENVIRONMENT", "IN_CIDR", "NAMES", "SHORT_NAMES", "Activation", "activation", "in_cidr"]

Activation = Any
"""The binding's own type: values bound to names, converted at most once however many expressions use them."""

IN_CIDR = "inCidr"

_T = cel.Type
_TEXT = _T.STRING
_TEXTS = _T.List(_T.STRING)
_TEXT_MAP = _T.Map(_T.STRING, _T.STRING)

NAMES: Mapping[str, Any] = {
    "request.method": _TEXT,
    "request.path": _TEXT,
    "request.url_path": _TEXT,
    "request.host": _TEXT,
    "request.scheme": _TEXT,
    "request.headers": _TEXT_MAP,
    "request.query": _T.Map(_T.STRING, _TEXTS),
    "request.time": _T.TIMESTAMP,
    "request.id": _TEXT,
    "source.address": _TEXT,
    "source.principal": _TEXT,
    "destination.address": _TEXT,
    "destination.principal": _TEXT,
    "identity.subject": _TEXT,
    "identity.issuer": _TEXT,
    "identity.provider": _TEXT,
    "identity.roles": _TEXTS,
    "identity.scopes": _TEXTS,
    "claims": _T.Map(_T.STRING, _T.DYN),
    "context": _TEXT_MAP,
}
"""All that an expression may name, with its type."""

SHORT_NAMES = frozenset(
    [
        "request.host",
        "request.time",
        "source.address",
        "source.principal",
        "destination.address",
        "destination.principal",
        "identity.provider",
    ]
)
"""Those whose values are short, whatever a client sends: a host name, an address, a SPIFFE ID, a name of ours."""

_EXTENSIONS = """
extensions:
- {name: strings, version: 4}
- {name: lists, version: 2}
- {name: math, version: 2}
- {name: optional, version: 2}
"""


def in_cidr(address: str, block: str) -> bool:
    """Whether an address is in an address block, which may be a single address.

    Raises:
        ValueError: One of them is none; an address of the other family is just not in it.

    """
    known = canonical_address(address)
    if known is None:
        raise ValueError("not an address")
    return known in _block(block)


@lru_cache(maxsize=4096)
def _block(text: str) -> Network:
    return read_network(text)


def _functions() -> list[Any]:
    overload = cel.Overload("in_cidr_string", return_type=_T.BOOL, parameters=[_TEXT, _TEXT], impl=in_cidr)
    return [cel.FunctionDecl(IN_CIDR, [overload])]


ENVIRONMENT = cel.NewEnv(config=cel.NewEnvConfigFromYaml(_EXTENSIONS), variables=dict(NAMES), functions=_functions())
"""Compiles expressions and binds their values."""


def activation(values: Mapping[str, Any]) -> Activation:
    """Bind values to declared names for one request; what is not bound is an error where it is used."""
    return ENVIRONMENT.Activation(values)
