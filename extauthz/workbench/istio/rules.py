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
    SPACE_DELIMITED,
    any_of,
    claim,
    compare,
    host_pattern,
    literal,
    method_name,
    path_expression,
    piece,
    plain_path,
    request_principal,
)

__all__ = ["MadeRule", "Surroundings", "made_rules"]

_HEADER = re.compile(r"request\.headers\[([^\]]+)\]\Z")
_CLAIM = re.compile(r"request\.auth\.claims((?:\[[^\]]+\])+)\Z")
_STEP = re.compile(r"\[([^\]]+)\]")
_KNOWN_SOURCE = frozenset(
    ["principals", "requestPrincipals", "namespaces", "ipBlocks", "remoteIpBlocks", "serviceAccounts"]
)
_KNOWN_TARGET = frozenset(["hosts", "ports", "methods", "paths"])
_NOBODY = '"anonymous" in identity.roles'


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule means beyond its text."""

    namespace: str = ""
    """Of its policy; empty if that is not written."""
    trust_domain: str = "cluster.local"
    """What ``cluster.local`` stands for in principals: the trust domain of the mesh."""


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


def made_rules(rule: Mapping[str, Any], losses: Losses, around: Surroundings, *, deny: bool) -> list[MadeRule]:
    """The rules that mean what one of Istio's means, or less where it allows, or more where it denies."""
    maker = _Maker(losses, around, deny=deny)
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

    def __init__(self, losses: Losses, around: Surroundings, *, deny: bool) -> None:
        self.losses = losses
        self.around = around
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
        self._workloads("namespaces", source, part, self._namespace)
        self._workloads("serviceAccounts", source, part, self._account)
        self._blocks("ipBlocks", source, part)
        self._blocks("remoteIpBlocks", source, part)
        self._request_principals(source.get("requestPrincipals"), source.get("notRequestPrincipals"), part)

    def operation(self, operation: Mapping[str, Any], part: _Part) -> None:
        """One ``operation``."""
        self._unknown(operation, _KNOWN_TARGET)
        self._listed("hosts", operation, part, host_pattern, self._host_expression)
        self._listed(
            "methods",
            operation,
            part,
            method_name,
            lambda text, *, wide: compare("request.method", text),  # noqa: ARG005
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
        expression: Callable[..., str],
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
            made = [expression(value, wide=not self.deny) for value in excluded]
            if not all(made):
                # What is excluded from a denial would be a hole: so nothing is excluded, or nothing allowed.
                self._lost(f"a pattern of not{name[0].upper()}{name[1:]} can't be said exactly")
            else:
                part.conditions.append(f"!{any_of(made) if len(made) > 1 else f'({made[0]})'}")

    def _either(self, name: str, values: Sequence[str], part: _Part, expression: Callable[..., str]) -> None:
        """Alternatives in CEL: those that can't be said are left out where they allow; where they deny all are denied."""
        made = [expression(value, wide=self.deny) for value in values]
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

    def _host_expression(self, text: str, *, wide: bool) -> str:  # noqa: ARG002 - as for paths
        # Hosts are compared without their ports here.
        return "" if ":" in piece(text) else compare("request.host", text.lower())

    def _port(self, port: Any) -> int:
        try:
            return read_port(str(port))
        except ValueError:
            raise _Inexpressible(f"{port!r} is no port") from None

    def _principals(self, values: Any, part: _Part) -> None:
        if not values:
            return
        told = self._named([str(value) for value in values])
        plain = [_plain_principal(value) for value in told]
        if all(plain):
            part.words["principals"] = plain
            return
        part.words["principals"] = ["*"]
        part.conditions.append(any_of([_principal_expression(value) for value in told]))

    def _named(self, values: Sequence[str]) -> list[str]:
        """Principals as they are compared: ``cluster.local`` is the trust domain of the mesh, whatever it is called."""
        told = []
        for value in values:
            if value.startswith("spiffe://") and not self.deny:
                self.losses.add(
                    "left-out", f"principals: {value!r} matches nobody in Istio, which writes them without spiffe://"
                )
                continue
            bare = value.removeprefix("spiffe://")
            domain, slash, rest = bare.partition("/")
            told.append(f"{self.around.trust_domain}/{rest}" if slash and domain == "cluster.local" else bare)
        if not told:
            raise _Inexpressible("no principal is left")
        return told

    def _not_principals(self, values: Any, part: _Part) -> None:
        if not values:
            return
        # Those that Istio does not know with their scheme exclude nobody there, and would here: so less is allowed.
        bare = [str(value) for value in values if not (self.deny and str(value).startswith("spiffe://"))]
        told = self._named([value.removeprefix("spiffe://") for value in bare]) if bare else []
        plain = [_plain_principal(value) for value in told]
        if self.deny and all(plain):
            if plain:
                part.words["notPrincipals"] = plain
            return
        if not self.deny:
            # Without certificate nothing is excluded there; here nothing is allowed then.
            self.losses.add("allows-less", "notPrincipals: callers without certificate are not allowed")
            part.words["principals"] = part.words.get("principals", ["*"])
        part.conditions.append("!" + _bracketed([_principal_expression(value) for value in told]))

    def _workloads(self, name: str, source: Mapping[str, Any], part: _Part, spelled: Callable[[str], str]) -> None:
        values, excluded = source.get(name), source.get("not" + name[0].upper() + name[1:])
        if values:
            part.words.setdefault("principals", ["*"])
            part.conditions.append(any_of([spelled(str(value)) for value in values]))
        if excluded:
            if not self.deny:
                self.losses.add(
                    "allows-less", f"not{name[0].upper()}{name[1:]}: callers without certificate are not allowed"
                )
                part.words.setdefault("principals", ["*"])
            part.conditions.append("!" + _bracketed([spelled(str(value)) for value in excluded]))

    @staticmethod
    def _namespace(value: str) -> str:
        """The star stands for anything, slashes included, as in Istio's regular expression."""
        if "*" not in value:
            return f"source.principal.contains({literal(f'/ns/{value}/')})"
        pattern = ".*".join(re.escape(part) for part in value.split("*"))
        return f"source.principal.matches({literal(f'/ns/{pattern}/')})"

    def _account(self, value: str) -> str:
        """A service account, of the policy's own namespace if it names none."""
        namespace, slash, account = value.partition("/")
        if not slash:
            namespace, account = self.around.namespace, value
        if not namespace:
            raise _Inexpressible(f"the service account {value!r} is that of a namespace that is not written")
        pattern = f"^spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?$"
        return f"source.principal.matches({literal(pattern)})"

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
        if values:
            part.token = True
            part.conditions.append(_bracketed([request_principal(str(value)) for value in values]))
        if excluded:
            said = any_of([f"({request_principal(str(value))})" for value in excluded])
            part.conditions.append(f"({_NOBODY} || !({said}))")

    def _condition(self, key: str, patterns: list[str], part: _Part, *, negated: bool) -> None:
        header, claims = _HEADER.match(key), _CLAIM.match(key)
        if header:
            if header[1].startswith(":") or header[1].lower() == "host":
                raise _Inexpressible(f"{header[1]} is no header here")
            name = literal(header[1].lower())
            told = any_of([compare(f"request.headers[{name}]", pattern) for pattern in patterns])
            # Presence is that of the header; its value may be empty.
            asked = f"({name} in request.headers)" if "*" in patterns else f"({name} in request.headers && {told})"
        elif claims:
            asked = self._claim(_STEP.findall(claims[1]), patterns, wide=self.deny != negated)
        elif key == "request.auth.audiences":
            asked = self._claim(["aud"], patterns, wide=self.deny != negated)
        elif key == "request.auth.presenter":
            asked = self._claim(["azp"], patterns, wide=self.deny != negated)
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

    def _claim(self, steps: list[str], patterns: list[str], *, wide: bool) -> str:
        if wide and len(steps) == 1 and steps[0] not in SPACE_DELIMITED:
            self.losses.add(
                "denies-more" if self.deny else "allows-less",
                f"the claim {steps[0]!r}, if it is one string, is compared word by word as well",
                "a RequestAuthentication may ask for that with spaceDelimitedClaims; if none does, keep the first comparison",
            )
        return f"({claim(steps, patterns, wide=wide)})"

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


def _plain_principal(principal: str) -> str:
    """The same as a word of ours, if there is one; Istio writes principals without the scheme."""
    if principal != "*" and principal.startswith("*"):
        return ""  # ours would be any that ends so, not SPIFFE IDs alone
    told = principal if principal == "*" else f"spiffe://{principal}"
    return told if read_spiffe_pattern(told) is not None else ""


def _principal_expression(principal: str) -> str:
    name = "source.principal"
    if principal != "*" and principal.startswith("*"):
        return f'({name}.startsWith("spiffe://") && {compare(name, principal)})'
    return compare(name, principal if principal == "*" else f"spiffe://{principal}")


def _bracketed(parts: Sequence[str]) -> str:
    return any_of(parts) if len(parts) > 1 else f"({parts[0]})"


def _block(value: str) -> str:
    """Istio cuts bits beyond the mask; ours are refused, so they are cut here."""
    from ipaddress import ip_network

    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        return value
