"""One rule of an AuthorizationPolicy as rules of ours.

Istio joins lists of alternatives (``from``, ``to``) and conditions (``when``). Where all of it can be said in our words, one
rule of ours is made; where some part needs CEL, which stands beside the whole rule, each pair of a source and an operation
becomes a rule of its own.

What can't be said depends on the side: in a rule that allows, the alternative is left out (it allows less); in a rule that
denies, the part is left out (it denies more). So nothing is ever allowed that Istio would not allow.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from extauthz.canonical import read_spiffe_pattern
from extauthz.policy.patterns import read_network, read_port
from extauthz.workbench.istio.losses import Losses
from extauthz.workbench.istio.words import (
    any_of,
    claim,
    compare,
    host_pattern,
    literal,
    method_name,
    path_expression,
    plain_path,
)

__all__ = ["MadeRule", "made_rules"]

_HEADER = re.compile(r"request\.headers\[([^\]]+)\]\Z")
_CLAIM = re.compile(r"request\.auth\.claims((?:\[[^\]]+\])+)\Z")
_KNOWN_SOURCE = frozenset(
    ["principals", "requestPrincipals", "namespaces", "ipBlocks", "remoteIpBlocks", "serviceAccounts"]
)
_KNOWN_TARGET = frozenset(["hosts", "ports", "methods", "paths"])
_NOBODY = '"anonymous" in identity.roles'


class _Inexpressible(Exception):  # noqa: N818 - never leaves this module
    """A part has no equivalent; the text says why."""


@dataclass(slots=True)
class _Part:
    """An alternative of ``from`` or ``to``: our words, CEL, and whether a token is needed."""

    words: dict[str, list[Any]] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)
    token: bool = False


@dataclass(frozen=True, slots=True)
class MadeRule:
    """A rule of ours, without name and role."""

    to: tuple[dict[str, list[Any]], ...]
    sources: tuple[dict[str, list[Any]], ...]
    when: str
    token: bool
    """Only callers with a token can match."""


def made_rules(rule: Mapping[str, Any], losses: Losses, *, deny: bool) -> list[MadeRule]:
    """The rules that mean what one of Istio's means, or less where it allows, or more where it denies."""
    maker = _Maker(losses, deny=deny)
    sources = maker.alternatives(rule.get("from"), "source", maker.source)
    operations = maker.alternatives(rule.get("to"), "operation", maker.operation)
    condition = maker.conditions(rule.get("when"))
    if sources is None or operations is None or condition is None:
        return []
    plain = not any(part.conditions or part.token for part in (*sources, *operations))
    when, token = condition.conditions, condition.token
    extra = condition.words
    if plain and not extra:
        to = tuple(part.words for part in operations if part.words)
        said = tuple(part.words for part in sources if part.words)
        # An alternative that says nothing matches everything, and so does the list.
        to = to if len(to) == len(operations) else ()
        said = said if len(said) == len(sources) else ()
        return [MadeRule(to, said, " && ".join(when), token)]
    return list(_crossed(sources, operations, condition, maker))


def _crossed(
    sources: Sequence[_Part], operations: Sequence[_Part], condition: _Part, maker: "_Maker"
) -> Iterator[MadeRule]:
    for source, operation in product(sources, operations):
        said, to = dict(source.words), dict(operation.words)
        clash = False
        for name, values in condition.words.items():
            words = to if name in ("ports", "notPorts") else said
            if name in words and not name.startswith("not"):
                clash = True
                maker.losses.add("two-lists", f"{name} is asked for twice, and both must hold", "write one list")
            elif name in words:
                words[name] = [*words[name], *values]
            else:
                words[name] = values
        if clash and not maker.deny:
            continue
        conditions = [*source.conditions, *operation.conditions, *condition.conditions]
        yield MadeRule(
            (to,) if to else (),
            (said,) if said else (),
            " && ".join(conditions),
            source.token or operation.token or condition.token,
        )


class _Maker:
    """Makes the parts of one rule."""

    def __init__(self, losses: Losses, *, deny: bool) -> None:
        self.losses = losses
        self.deny = deny

    def alternatives(
        self, entries: Any, key: str, make: Callable[[Mapping[str, Any], _Part], None]
    ) -> list[_Part] | None:
        """The alternatives that could be said; one that says nothing for an absent list; None if none is left."""
        if not entries:
            return [_Part()]
        parts = []
        for entry in entries:
            part = _Part()
            try:
                make((entry or {}).get(key) or {}, part)
            except _Inexpressible as reason:
                if not self.deny:
                    self.losses.add(
                        "left-out", f"{reason}: this alternative of `{key}` is left out, so less is allowed"
                    )
                    continue
                self.losses.add("denies-more", f"{reason}: this alternative of `{key}` is taken to match always")
                part = _Part()
            parts.append(part)
        return parts or None

    def source(self, source: Mapping[str, Any], part: _Part) -> None:
        """One ``source``."""
        self._unknown(source, _KNOWN_SOURCE)
        self._principals(source.get("principals"), part)
        self._not_principals(source.get("notPrincipals"), part)
        self._workloads("namespaces", source, part, lambda value: f"/ns/{value}/")
        self._workloads("serviceAccounts", source, part, self._account)
        self._blocks("ipBlocks", source, part)
        self._blocks("remoteIpBlocks", source, part)
        self._request_principals(source.get("requestPrincipals"), source.get("notRequestPrincipals"), part)

    def operation(self, operation: Mapping[str, Any], part: _Part) -> None:
        """One ``operation``."""
        self._unknown(operation, _KNOWN_TARGET)
        self._listed("hosts", operation, part, host_pattern, self._host_expression)
        self._listed(
            "methods", operation, part, method_name, lambda text: self._plain_expression("request.method", text)
        )
        self._listed("paths", operation, part, plain_path, path_expression)
        for name in ("ports", "notPorts"):
            if operation.get(name):
                part.words[name] = [self._port(port) for port in operation[name]]

    def conditions(self, entries: Any) -> _Part | None:
        """All of ``when``; None if what allows can't be said."""
        part = _Part()
        for entry in entries or ():
            key = str(entry.get("key", ""))
            for patterns, negated in ((entry.get("values"), False), (entry.get("notValues"), True)):
                if not patterns:
                    continue
                try:
                    self._condition(key, [str(pattern) for pattern in patterns], part, negated=negated)
                except _Inexpressible as reason:
                    if not self.deny:
                        self.losses.add("left-out", f"{reason}: the rule is left out, so less is allowed")
                        return None
                    self.losses.add("denies-more", f"{reason}: the condition is left out, so more is denied")
        return part

    def _unknown(self, words: Mapping[str, Any], known: frozenset[str]) -> None:
        for name in words:
            bare = name[3].lower() + name[4:] if name.startswith("not") and len(name) > len("not") else name
            if bare not in known:
                self._lost(f"{name} has no equivalent")

    def _lost(self, why: str) -> None:
        """A part that can't be said: a denial goes on without it, an alternative that allows is given up."""
        if not self.deny:
            raise _Inexpressible(why)
        self.losses.add("denies-more", f"{why}: it is left out, so more is denied")

    def _listed(
        self,
        name: str,
        operation: Mapping[str, Any],
        part: _Part,
        plain: Callable[[str], str],
        expression: Callable[[str], str],
    ) -> None:
        """A list of the words of an operation, and its not* twin."""
        values = [str(value) for value in operation.get(name) or ()]
        if values:
            said = [plain(value) for value in values]
            if all(said) and not (name == "hosts" and "*" in values):
                part.words[name] = said
                if self.deny and name == "paths":
                    self.losses.add("denies-more", "a denied path is denied with a final slash as well")
            else:
                self._either(name, values, part, expression)
        excluded = [str(value) for value in operation.get("not" + name[0].upper() + name[1:]) or ()]
        if excluded:
            made = [expression(value) for value in excluded]
            if not all(made):
                # What is excluded from a denial would be a hole: so nothing is excluded, or nothing allowed.
                self._lost(f"a pattern of not{name[0].upper()}{name[1:]} can't be said exactly")
            else:
                part.conditions.append(f"!{any_of(made) if len(made) > 1 else f'({made[0]})'}")

    def _either(self, name: str, values: Sequence[str], part: _Part, expression: Callable[[str], str]) -> None:
        """Alternatives in CEL: those that can't be said are left out where they allow; where they deny all are denied."""
        made = [expression(value) for value in values]
        told = [text for text in made if text]
        for value, text in zip(values, made, strict=True):
            if told and not text and not self.deny:
                self.losses.add(
                    "left-out", f"{name}: {value!r} can't be said exactly and is left out, so less is allowed"
                )
        if self.deny and len(told) < len(made):
            self._lost(f"a pattern of {name} can't be said exactly")
            return
        if not told:
            raise _Inexpressible(f"nothing of {name} can be said exactly")
        part.conditions.append(any_of(told))

    def _host_expression(self, text: str) -> str:
        bare = text.strip("*").lower()
        if ":" in bare or "*" in text.strip("*"):
            return ""
        return compare("request.host", text.lower())

    def _plain_expression(self, name: str, text: str) -> str:
        return "" if "*" in text.strip("*") else compare(name, text)

    def _port(self, port: Any) -> int:
        try:
            return read_port(str(port))
        except ValueError:
            raise _Inexpressible(f"{port!r} is no port") from None

    def _principals(self, values: Any, part: _Part) -> None:
        if not values:
            return
        told = [_spiffe(str(value)) for value in values]
        if all(read_spiffe_pattern(text) is not None for text in told):
            part.words["principals"] = told
            return
        part.words["principals"] = ["*"]
        part.conditions.append(any_of([_principal_expression(str(value)) for value in values]))

    def _not_principals(self, values: Any, part: _Part) -> None:
        if not values:
            return
        told = [_spiffe(str(value)) for value in values]
        if self.deny and all(read_spiffe_pattern(text) is not None for text in told):
            part.words["notPrincipals"] = told
            return
        if not self.deny:
            # Without certificate nothing is excluded there; here nothing is allowed then.
            self.losses.add("allows-less", "notPrincipals: callers without certificate are not allowed")
            part.words["principals"] = part.words.get("principals", ["*"])
        part.conditions.append("!" + _bracketed([_principal_expression(str(value)) for value in values]))

    def _workloads(self, name: str, source: Mapping[str, Any], part: _Part, spelled: Callable[[str], str]) -> None:
        values, excluded = source.get(name), source.get("not" + name[0].upper() + name[1:])
        if values:
            part.words.setdefault("principals", ["*"])
            part.conditions.append(any_of([self._within(spelled(str(value))) for value in values]))
        if excluded:
            if not self.deny:
                self.losses.add(
                    "allows-less", f"not{name[0].upper()}{name[1:]}: callers without certificate are not allowed"
                )
                part.words.setdefault("principals", ["*"])
            part.conditions.append("!" + _bracketed([self._within(spelled(str(value))) for value in excluded]))

    @staticmethod
    def _account(value: str) -> str:
        namespace, _, account = value.rpartition("/")
        return f"/ns/{namespace}/sa/{account}" if namespace else f"/sa/{account}"

    @staticmethod
    def _within(text: str) -> str:
        if "*" in text:
            pattern = "[^/]*".join(re.escape(piece) for piece in text.split("*"))
            return f"source.principal.matches({literal(pattern)})"
        if text.startswith(("/sa/", "/ns/")) and "/sa/" in text:
            return f"source.principal.endsWith({literal(text)})"
        return f"source.principal.contains({literal(text)})"

    def _blocks(self, name: str, source: Mapping[str, Any], part: _Part) -> None:
        for key in (name, "not" + name[0].upper() + name[1:]):
            values = source.get(key)
            if not values:
                continue
            told = []
            for value in values:
                try:
                    told.append(str(read_network(_block(str(value)))))
                except ValueError as error:
                    raise _Inexpressible(str(error)) from None
            part.words[key] = told

    def _request_principals(self, values: Any, excluded: Any, part: _Part) -> None:
        name = 'identity.issuer + "/" + identity.subject'
        if values:
            part.token = True
            if "*" not in values:
                part.conditions.append(any_of([compare(f"({name})", str(value)) for value in values]))
        if excluded:
            if "*" in excluded:
                part.conditions.append(_NOBODY)
            else:
                said = any_of([compare(f"({name})", str(value)) for value in excluded])
                part.conditions.append(f"({_NOBODY} || !({said}))")

    def _condition(self, key: str, patterns: list[str], part: _Part, *, negated: bool) -> None:
        header, claims = _HEADER.match(key), _CLAIM.match(key)
        if header:
            name = literal(header[1].strip("\"'").lower())
            told = any_of([compare(f"request.headers[{name}]", pattern) for pattern in patterns])
            asked = f"({name} in request.headers && {told})"
        elif claims:
            steps = [step.strip("\"'") for step in re.findall(r"\[([^\]]+)\]", claims[1])]
            asked = f"({claim(steps, patterns)})"
        elif key == "request.auth.audiences":
            asked = f"({claim(['aud'], patterns)})"
        elif key == "request.auth.presenter":
            asked = f"({claim(['azp'], patterns)})"
        elif key == "request.auth.principal":
            self._request_principals(None if negated else patterns, patterns if negated else None, part)
            return
        elif key in ("source.ip", "remote.ip", "destination.port", "source.principal", "source.namespace"):
            self._attribute(key, patterns, part, negated=negated)
            return
        else:
            raise _Inexpressible(f"the condition on {key!r} has no equivalent")
        part.token |= not header and not negated
        part.conditions.append(f"!{asked}" if negated else asked)

    def _attribute(self, key: str, patterns: list[str], part: _Part, *, negated: bool) -> None:
        """Conditions that are words of ours."""
        word = {
            "source.ip": "ipBlocks",
            "remote.ip": "remoteIpBlocks",
            "source.principal": "principals",
            "source.namespace": "namespaces",
        }.get(key, "ports")
        name = "not" + word[0].upper() + word[1:] if negated else word
        made = _Part()
        if word == "ports":
            made.words[name] = [self._port(pattern) for pattern in patterns]
        else:
            self.source({name: patterns}, made)
        for known, values in made.words.items():
            if known in part.words:
                raise _Inexpressible(f"{key!r} is asked for twice")
            part.words[known] = values
        part.conditions += made.conditions


def _spiffe(principal: str) -> str:
    """Istio writes principals without the scheme."""
    return principal if principal.startswith(("*", "spiffe://")) else f"spiffe://{principal}"


def _principal_expression(principal: str) -> str:
    return compare("source.principal", _spiffe(principal))


def _bracketed(parts: Sequence[str]) -> str:
    return any_of(parts) if len(parts) > 1 else f"({parts[0]})"


def _block(value: str) -> str:
    """Istio cuts bits beyond the mask; ours are refused, so they are cut here."""
    from ipaddress import ip_network

    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        return value
