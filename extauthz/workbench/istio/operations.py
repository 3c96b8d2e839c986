"""Istio's ``operation`` in our words: what is asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from extauthz.policy.patterns import read_port
from extauthz.workbench.istio.form import OperationForm
from extauthz.workbench.istio.parts import Inexpressible, Part, Side, Words
from extauthz.workbench.istio.words import (
    any_of,
    bracketed,
    compare,
    host_pattern,
    method_name,
    path_expression,
    piece,
    plain_path,
)

__all__ = ["ports", "say_operation"]

_ANY_PORT = ":*"
_PORT = re.compile(r":[0-9]*\Z")


def say_operation(operation: OperationForm, part: Part, side: Side) -> None:
    """Say one ``operation``.

    Raises:
        Inexpressible: It allows, and can't be said.

    """
    _hosts(operation, part, side)
    _listed(Words("methods", operation.methods, operation.not_methods), _METHODS, part, side)
    _listed(Words("paths", operation.paths, operation.not_paths), _PATHS, part, side)
    if side.deny and "paths" in part.words:
        side.losses.add("denies-more", "a denied path is denied with a final slash as well")
    for name, values in (("ports", operation.ports), ("notPorts", operation.not_ports)):
        if values:
            part.words[name] = ports(values)


def ports(values: Sequence[str]) -> list[int]:
    """Ports as numbers.

    Raises:
        Inexpressible: One of them is none of ours.

    """
    try:
        return [read_port(value) for value in values]
    except ValueError as error:
        raise Inexpressible(f"ports: {error}") from None


def _hosts(operation: OperationForm, part: Part, side: Side) -> None:
    """Hosts, which Istio compares with the port that the client wrote, and we without."""
    hosts, excluded = _settled(operation.hosts), _settled(operation.not_hosts)
    without = [host for host in (*hosts, *excluded) if _is_without_port(host, operation)]
    if without:
        host = without[0]
        side.losses.add(
            "host-ports",
            f"hosts are compared without the port that the client wrote: {host!r} is {host}:8443 as well",
            "write `ports` if another service listens there"
            + ("" if host.startswith("*") else f", or {host + _ANY_PORT!r} beside it if that is meant"),
        )
    _listed(Words("hosts", hosts, excluded), _HOSTS, part, side)


def _settled(values: Sequence[str]) -> list[str]:
    """The hosts without those that are another one of them with any port (``x`` and ``x:*``)."""
    return [value for value in values if not (value.endswith(_ANY_PORT) and value.removesuffix(_ANY_PORT) in values)]


def _is_without_port(host: str, operation: OperationForm) -> bool:
    """Whether Istio matches a host only where the client wrote no port; a prefix is followed by anything."""
    if host.endswith("*") or _PORT.search(host):
        return False
    return host.startswith("*") or not any(host + _ANY_PORT in of for of in (operation.hosts, operation.not_hosts))


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How the entries of a list are said; empty where they can't be."""

    plain: Callable[[str], str]
    """As a word of ours."""
    expression: Callable[..., str]
    """In CEL."""


def _listed(words: Words, spelling: _Spelling, part: Part, side: Side) -> None:
    """A list of words, and its not* twin."""
    if words.values:
        said = [spelling.plain(value) for value in words.values]
        if all(said) and not (words.name == "hosts" and "*" in words.values):
            part.words[words.name] = said
        else:
            _either(words, spelling, part, side)
    if words.excluded:
        made = [spelling.expression(value, wide=not side.deny) for value in words.excluded]
        if all(made):
            part.conditions.append("!" + bracketed(made))
        else:
            # What is excluded from a denial would be a hole: so nothing is excluded, or nothing allowed.
            side.lose(f"a pattern of {words.negated} can't be said exactly")


def _either(words: Words, spelling: _Spelling, part: Part, side: Side) -> None:
    """Alternatives in CEL: those that can't be said are left out where they allow; where they deny all are denied."""
    made = [spelling.expression(value, wide=side.deny) for value in words.values]
    told = [text for text in made if text]
    for value, text in zip(words.values, made, strict=True):
        if told and not text and not side.deny:
            side.losses.add(
                "left-out", f"{words.name}: {value!r} can't be said exactly and is left out, so less is allowed"
            )
    if side.deny and len(told) < len(made):
        side.lose(f"a pattern of {words.name} can't be said exactly")
        return
    if not told:
        raise Inexpressible(f"nothing of {words.name} can be said exactly")
    part.conditions.append(any_of(told))


def _method_expression(text: str, *, wide: bool) -> str:  # noqa: ARG001 - as for paths
    return compare("request.method", text)


def _host_expression(text: str, *, wide: bool) -> str:  # noqa: ARG001 - as for paths
    # Hosts are compared without their ports here.
    return "" if ":" in piece(text) else compare("request.host", text.lower())


_HOSTS = _Spelling(host_pattern, _host_expression)
_METHODS = _Spelling(method_name, _method_expression)
_PATHS = _Spelling(plain_path, path_expression)
