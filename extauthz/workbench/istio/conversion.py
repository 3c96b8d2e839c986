"""Istio's documents as AuthPolicy documents.

An AuthorizationPolicy that allows becomes a policy with rules, one that denies a policy with ``deny``. Istio's rules that
ask for no token let callers without one pass, so each becomes two of ours: one for any caller with a token, one for role
``anonymous``. Where a mesh has no policy that allows, Istio allows all that is not denied; here nothing is allowed then.
A dry run becomes shadow mode. A policy that delegates to another authorizer can't be left out, since that one may deny.

A token counts in Istio only where a RequestAuthentication covers the workload. So a policy that allows names the providers
whose RequestAuthentication covers all that it covers itself, if any was given.

Istio chooses workloads by namespace and labels, which a request does not have. A route can carry them in its
``context_extensions``, and a policy that allows is made to ask for that; one that denies is made to cover everything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extauthz.documents import Document, read_documents
from extauthz.errors import Problem
from extauthz.model import ANONYMOUS
from extauthz.workbench.istio.losses import Loss, Losses
from extauthz.workbench.istio.providers import provider_of
from extauthz.workbench.istio.rules import MadeRule, Surroundings, made_rules
from extauthz.workbench.istio.scope import Authentication, Scope, at, dry_run, labels_of

__all__ = ["Converted", "Scope", "convert"]

_AUTHORIZATION = "AuthorizationPolicy"
_AUTHENTICATION = "RequestAuthentication"
_VERSIONS = ("security.istio.io/v1", "security.istio.io/v1beta1")
_NOT_ANONYMOUS = f'!("{ANONYMOUS}" in identity.roles)'


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of the documents."""

    policies: tuple[tuple[str, dict[str, Any]], ...]
    """A comment, and an AuthPolicy document."""
    providers: tuple[dict[str, Any], ...]
    """Entries for ``providers`` of the configuration."""
    losses: tuple[Loss, ...]
    problems: tuple[Problem, ...]
    """What could not be read at all."""


def convert(*texts: tuple[str, str], group: str, scope: Scope) -> Converted:
    """Convert every object of some texts, each given with the name of its file.

    ``group`` is the API group of AuthPolicy documents. What belongs together must come together.
    """
    converter = _Converter(group, scope)
    problems: list[Problem] = []
    objects: list[tuple[Document, tuple[str | int, ...], Any]] = []
    for text, file in texts:
        documents, found = read_documents(text, file)
        problems += found
        objects += [(document, *one) for document in documents for one in _objects(document)]
    # The providers first: policies name them.
    for document, path, value in sorted(objects, key=lambda one: not _authenticates(one[2])):
        converter.take(document, path, value)
    return Converted(
        tuple(converter.policies), tuple(converter.providers), tuple(converter.losses), (*problems, *converter.problems)
    )


def _authenticates(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind") == _AUTHENTICATION


def _objects(document: Document) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    value = document.value
    if isinstance(value, dict) and value.get("kind") == "List":
        items = value.get("items")
        for number, item in enumerate(items if isinstance(items, list) else ()):
            yield ("items", number), item
    else:
        yield (), value


class _Converter:
    """Converts objects one by one."""

    def __init__(self, group: str, scope: Scope) -> None:
        self.policies: list[tuple[str, dict[str, Any]]] = []
        self.providers: list[dict[str, Any]] = []
        self.losses: list[Loss] = []
        self.problems: list[Problem] = []
        self._group = group
        self._scope = scope
        self._names: set[tuple[str, str]] = set()
        self._authentications: list[Authentication] = []

    def take(self, document: Document, path: tuple[str | int, ...], value: Any) -> None:
        """Convert one object, or note why not."""
        where = document.where(path)
        losses = Losses(where)
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(value.get("spec", {}), dict | None):
            self.problems.append(Problem(where, "is no Kubernetes object", "an object has kind, metadata and spec"))
        elif kind not in (_AUTHORIZATION, _AUTHENTICATION):
            losses.add(
                "not-converted", f"kind {kind!r} is not converted", f"{_AUTHORIZATION} and {_AUTHENTICATION} are"
            )
        elif value.get("apiVersion") not in _VERSIONS:
            self.problems.append(
                Problem(where, f"unknown apiVersion {value.get('apiVersion')!r}", f"write {_VERSIONS[0]}")
            )
        elif kind == _AUTHENTICATION:
            self._authentication(document, path, value, losses)
        else:
            try:
                self._authorization(document, path, value, losses)
            except (AttributeError, TypeError):
                self.problems.append(
                    Problem(where, "is no AuthorizationPolicy as Istio has it", "check it with istioctl")
                )
        self.losses += losses.found

    def _authentication(
        self, document: Document, path: tuple[str | int, ...], value: Mapping[str, Any], losses: Losses
    ) -> None:
        name = at(value, "metadata", "name") or "provider"
        before = len(self.providers)
        rules = at(value, "spec", "jwtRules")
        rules = rules if isinstance(rules, list) else []
        for number, rule in enumerate(rules):
            losses.where = document.where((*path, "spec", "jwtRules", number))
            if not isinstance(rule, dict) or not isinstance(rule.get("issuer"), str):
                self.problems.append(Problem(losses.where, "a JWT rule needs an issuer"))
                continue
            self.providers.append(provider_of(f"{name}-{number + 1}" if len(rules) > 1 else str(name), rule, losses))
        spec = value.get("spec") or {}
        self._authentications.append(
            Authentication(
                frozenset(provider["name"] for provider in self.providers[before:]),
                str(at(value, "metadata", "namespace") or ""),
                labels_of(spec),
                bool(spec.get("targetRefs") or spec.get("targetRef")),
            )
        )

    def _authorization(
        self, document: Document, path: tuple[str | int, ...], value: Mapping[str, Any], losses: Losses
    ) -> None:
        spec = value.get("spec") or {}
        action = spec.get("action", "ALLOW")
        name, namespace = str(at(value, "metadata", "name")), str(at(value, "metadata", "namespace") or "")
        if action == "CUSTOM":
            self._custom(spec, losses)
            return
        if action not in ("ALLOW", "DENY"):
            losses.add("not-converted", f"a policy with action {action} decides nothing and is not converted")
            return
        deny = action == "DENY"
        made: list[dict[str, Any]] = []
        for number, rule in enumerate(spec.get("rules") or ()):
            losses.where = document.where((*path, "spec", "rules", number))
            made += self._rules(number, rule, namespace, losses, deny=deny)
        losses.where = document.where(path)
        if deny and not made:
            losses.add("not-converted", "denies nothing, and is left out")
            return
        targets = self._targets(spec, namespace, losses, deny=deny)
        body: dict[str, Any] = {"mode": "Shadow"} if dry_run(value) else {}
        if targets:
            body["targets"] = targets
        if not deny:
            made, authentication = self._authenticated(made, spec, namespace, losses)
            if authentication:
                body["authentication"] = authentication
        if made:
            body["deny" if deny else "rules"] = made
        metadata = {"name": self._unique(name, namespace), **({"namespace": namespace} if namespace else {})}
        policy = {"apiVersion": f"{self._group}/v1", "kind": "AuthPolicy", "metadata": metadata, "spec": body}
        comment = f"From {_AUTHORIZATION} {f'{namespace}/' if namespace else ''}{name} ({losses.where})."
        self.policies.append((comment, policy))

    def _rules(
        self, number: int, rule: Mapping[str, Any] | None, namespace: str, losses: Losses, *, deny: bool
    ) -> list[dict[str, Any]]:
        """What one rule becomes."""
        if rule is None:
            losses.add("not-converted", "an empty entry of `rules` is skipped, as Istio does")
            return []
        found = made_rules(rule, losses, Surroundings(namespace, self._scope.trust_domain), deny=deny)
        made: list[dict[str, Any]] = []
        for index, one in enumerate(found):
            label = f"rule-{number + 1}" + (f"-{index + 1}" if len(found) > 1 else "")
            made += _denials(label, one) if deny else _allows(label, one)
        return made

    def _custom(self, spec: Mapping[str, Any], losses: Losses) -> None:
        """A policy that delegates, to this server or to another authorizer, which may deny what we would allow."""
        provider = str(at(spec, "provider", "name") or "")
        if provider not in self._scope.this_server:
            self.problems.append(
                Problem(
                    losses.where,
                    f"delegates to the extension provider {provider!r}: what that denies would be allowed without it",
                    "name it with --this-server if it is extauthz, or leave the policy out of the input",
                )
            )

    def _authenticated(
        self, made: list[dict[str, Any]], spec: Mapping[str, Any], namespace: str, losses: Losses
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rules that allow, and whose tokens count for them."""
        authentication: dict[str, Any] = {}
        if self._authentications and self._scope.workloads:
            labels, whole = labels_of(spec), bool(spec.get("targetRefs") or spec.get("targetRef"))
            sure: set[str] = set()
            for one in self._authentications:
                if one.covers(namespace, labels, self._scope.root, whole=whole):
                    sure |= one.providers
            if sure != {provider["name"] for provider in self.providers}:
                told = f"of {', '.join(sorted(sure))}" if sure else "of nobody"
                losses.add(
                    "fewer-tokens", f"only tokens {told} count: no other RequestAuthentication is sure to cover it"
                )
            if sure:
                authentication["providers"] = sorted(sure)
            else:
                made = [rule for rule in made if rule.get("role") == ANONYMOUS]
        if any(rule.get("role") == ANONYMOUS for rule in made):
            authentication["optional"] = True
        return made, authentication

    def _targets(self, spec: Mapping[str, Any], namespace: str, losses: Losses, *, deny: bool) -> list[dict[str, Any]]:
        target: dict[str, Any] = {"hosts": list(self._scope.hosts)} if self._scope.hosts else {}
        chosen = dict(labels_of(spec))
        named = spec.get("targetRefs") or spec.get("targetRef")
        if named:
            chosen["targetRefs"] = "unknown"
        if namespace and namespace != self._scope.root:
            chosen["namespace"] = namespace
        if chosen and self._scope.workloads:
            if deny:
                losses.add("denies-more", "it is for some workloads, and denies for all", "add targets to it")
            else:
                told = ", ".join(f"{key}: {label}" for key, label in chosen.items())
                losses.add(
                    "asks-for-context",
                    f"it is for some workloads: it covers only routes whose context_extensions have {told}",
                    "give them these, or convert with --scope here if the documents are those of one workload",
                )
                target["context"] = chosen
        return [target] if target else []

    def _unique(self, name: str, namespace: str) -> str:
        number, made = 1, name
        while (namespace, made) in self._names:
            number += 1
            made = f"{name}-{number}"
        self._names.add((namespace, made))
        return made


def _allows(label: str, made: MadeRule) -> Sequence[dict[str, Any]]:
    words = _words(made)
    when = {"when": made.when} if made.when else {}
    told = [{"name": label, **words, **when}]
    if not made.token:
        told.append({"name": f"{label}-anonymous", "role": ANONYMOUS, **words, **when})
    return told


def _denials(label: str, made: MadeRule) -> Sequence[dict[str, Any]]:
    conditions = [*([_NOT_ANONYMOUS] if made.token else []), *([f"({made.when})"] if made.when and made.token else [])]
    when = " && ".join(conditions) if made.token else made.when
    return [{"name": label, **_words(made), **({"when": when} if when else {})}]


def _words(made: MadeRule) -> dict[str, Any]:
    words: dict[str, Any] = {"to": list(made.to)} if made.to else {}
    if made.sources:
        words["from"] = list(made.sources)
    return words
