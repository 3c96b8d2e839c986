"""Istio's ``when`` in our words and in CEL; all of its entries must hold."""

import re
from collections.abc import Sequence

from extauthz.workbench.istio.form import ConditionForm, SourceForm
from extauthz.workbench.istio.operations import ports
from extauthz.workbench.istio.parts import Inexpressible, Part, Side
from extauthz.workbench.istio.sources import say_source
from extauthz.workbench.istio.words import SPACE_DELIMITED, any_of, claim, compare, literal

__all__ = ["say_condition"]

_HEADER = re.compile(r"request\.headers\[([^\[\]]+)\]\Z")
_CLAIM = re.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)\Z")
_STEP = re.compile(r"\[([^\[\]]+)\]")
_LISTED = {"request.auth.audiences": "aud", "request.auth.presenter": "azp"}
_SOURCES = {
    "source.ip": "ip_blocks",
    "remote.ip": "remote_ip_blocks",
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "source.serviceAccount": "service_accounts",
    "source.trustDomain": "trust_domains",
    "request.auth.principal": "request_principals",
}
"""Keys that are a field of ``source`` by another name."""
_PORT = "destination.port"


def say_condition(entry: ConditionForm, part: Part, side: Side) -> None:
    """Say one entry of ``when``.

    Raises:
        Inexpressible: It can't be said.

    """
    for values, negative in ((entry.values, False), (entry.not_values, True)):
        if not values:
            continue
        if entry.key in _SOURCES or entry.key == _PORT:
            _attribute(entry.key, values, part, side, negative=negative)
        elif found := _HEADER.match(entry.key):
            _header(found[1], values, part, negative=negative)
        elif steps := _steps(entry.key):
            asked = _claim(steps, values, side, wide=side.deny != negative)
            part.token |= not negative
            part.conditions.append(side.unless(asked) if negative else f"({asked})")
        else:
            raise Inexpressible(f"the condition on {entry.key!r} has no equivalent")


def _steps(key: str) -> list[str]:
    """The path to a claim; empty if the key is for none."""
    found = _CLAIM.match(key)
    if found:
        return _STEP.findall(found[1])
    return [_LISTED[key]] if key in _LISTED else []


def _header(header: str, patterns: Sequence[str], part: Part, *, negative: bool) -> None:
    if header.startswith(":") or header.lower() == "host":
        raise Inexpressible(f"{header} is no header here")
    name = literal(header.lower())
    told = any_of([compare(f"request.headers[{name}]", pattern) for pattern in patterns])
    # Presence is that of the header; its value may be empty.
    asked = f"({name} in request.headers)" if "*" in patterns else f"({name} in request.headers && {told})"
    part.conditions.append(f"!{asked}" if negative else asked)


def _claim(steps: list[str], patterns: Sequence[str], side: Side, *, wide: bool) -> str:
    delimited = len(steps) > 1 or steps[0] in SPACE_DELIMITED
    if wide and not delimited:
        side.losses.add(
            "denies-more" if side.deny else "allows-less",
            f"the claim {steps[0]!r}, if it is one string, is compared word by word as well",
            "a RequestAuthentication may ask for that with spaceDelimitedClaims; if none does, keep the first comparison",
        )
    if not wide and not delimited:
        # As one word of a list such a pattern would match nothing.
        told = [pattern for pattern in patterns if " " not in pattern]
        if len(told) < len(patterns):
            lost = (
                f"the claim {steps[0]!r} may be a list of words in Istio, where a pattern with a space matches nothing"
            )
            if not told:
                raise Inexpressible(lost)
            side.losses.add("left-out", f"{lost}: it is left out")
        patterns = told
    return claim(steps, patterns, wide=wide)


def _attribute(key: str, patterns: list[str], part: Part, side: Side, *, negative: bool) -> None:
    """A condition that is a word of ours."""
    made = Part()
    if key == _PORT:
        made.words["notPorts" if negative else "ports"] = list(ports(patterns))
    else:
        field = _SOURCES[key]
        say_source(SourceForm().model_copy(update={f"not_{field}" if negative else field: patterns}), made, side)
    for known, told in made.words.items():
        if part.words.get(known, told) != told:
            raise Inexpressible(f"{key!r} is asked for twice")
    part.words |= made.words
    part.conditions += made.conditions
    part.token |= made.token
