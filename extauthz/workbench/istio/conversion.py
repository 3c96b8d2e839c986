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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from extauthz.errors import Problem
from extauthz.model import ANONYMOUS
from extauthz.workbench.istio.form import AuthenticationForm, AuthorizationForm
from extauthz.workbench.istio.losses import Loss, Losses
from extauthz.workbench.istio.parts import Side, Surroundings
from extauthz.workbench.istio.providers import provider_of
from extauthz.workbench.istio.reading import Found, Objects, read_objects
from extauthz.workbench.istio.rules import MadeRule, made_rules
from extauthz.workbench.istio.scope import Authentication, Scope

__all__ = ["Converted", "Scope", "convert"]

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
    objects = read_objects(*texts)
    converter = _Converter(group, scope)
    converter.take(objects)
    return Converted(
        tuple(converter.policies),
        tuple(converter.providers),
        tuple(converter.losses),
        (*objects.problems, *converter.problems),
    )


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

    def take(self, objects: Objects) -> None:
        """Convert all of them: the providers first, as policies name them."""
        for where, kind in objects.others:
            self.losses.append(
                Loss(
                    "not-converted",
                    where,
                    f"kind {kind!r} is not converted",
                    "AuthorizationPolicy and RequestAuthentication are",
                )
            )
        for authentication in objects.authentications:
            losses = Losses(authentication.where())
            self._authentication(authentication, losses)
            self.losses += losses.found
        for authorization in objects.authorizations:
            losses = Losses(authorization.where())
            self._authorization(authorization, losses)
            self.losses += losses.found

    def _namespace(self, found: Found[Any]) -> str:
        """Of an object; without one, nobody knows for which workloads it is."""
        namespace: str = found.form.metadata.namespace or self._scope.namespace
        if not namespace and self._scope.workloads:
            self.problems.append(
                Problem(
                    found.where("metadata"),
                    "has no namespace, so it is not known for which workloads it is",
                    "write metadata.namespace, or give --namespace, which kubectl would put it into",
                )
            )
        return namespace

    def _authentication(self, found: Found[AuthenticationForm], losses: Losses) -> None:
        spec, metadata = found.form.spec, found.form.metadata
        before = len(self.providers)
        for number, rule in enumerate(spec.jwt_rules):
            losses.where = found.where("spec", "jwtRules", number)
            name = f"{metadata.name}-{number + 1}" if len(spec.jwt_rules) > 1 else metadata.name
            self.providers.append(provider_of(name, rule, losses))
        names = frozenset(provider["name"] for provider in self.providers[before:])
        self._authentications.append(Authentication(names, self._namespace(found), spec.labels, spec.attached))

    def _authorization(self, found: Found[AuthorizationForm], losses: Losses) -> None:
        spec, metadata = found.form.spec, found.form.metadata
        if spec.action == "CUSTOM":
            self._custom(spec.provider.name if spec.provider else "", losses)
            return
        if spec.action == "AUDIT":
            losses.add("not-converted", "a policy with action AUDIT decides nothing and is not converted")
            return
        deny = spec.action == "DENY"
        namespace = self._namespace(found)
        providers = self._sure(found.form, namespace)
        side = Side(losses, Surroundings(namespace, self._scope.trust_domains, providers), deny)
        made = self._rules(found, side)
        if deny and not made:
            losses.add("not-converted", "denies nothing, and is left out")
            return
        body: dict[str, Any] = {"mode": "Shadow"} if metadata.dry_run else {}
        targets = self._targets(found.form, namespace, losses, deny=deny)
        if targets:
            body["targets"] = targets
        if not deny:
            made, authentication = self._authenticated(made, providers, losses)
            if authentication:
                body["authentication"] = authentication
        if made:
            body["deny" if deny else "rules"] = made
        self.policies.append(
            (
                f"From AuthorizationPolicy {_full(metadata.name, namespace)} ({losses.where}).",
                self._policy(metadata.name, namespace, body),
            )
        )

    def _policy(self, name: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": self._unique(name, namespace)} | ({"namespace": namespace} if namespace else {})
        return {"apiVersion": f"{self._group}/v1", "kind": "AuthPolicy", "metadata": metadata, "spec": body}

    @staticmethod
    def _rules(found: Found[AuthorizationForm], side: Side) -> list[dict[str, Any]]:
        """What the rules of one policy become, each with its place."""
        made: list[dict[str, Any]] = []
        token = False
        for number, rule in enumerate(found.form.spec.rules):
            side.losses.where = found.where("spec", "rules", number)
            rules = made_rules(rule, side)
            for index, one in enumerate(rules):
                label = f"rule-{number + 1}" + (f"-{index + 1}" if len(rules) > 1 else "")
                made += _denials(label, one) if side.deny else _allows(label, one)
                token |= one.token
        side.losses.where = found.where()
        if token and not side.deny and side.around.providers is None:
            side.losses.add(
                "any-token",
                "no RequestAuthentication was given, so the tokens of every provider count",
                "convert it together with the RequestAuthentication objects of the mesh",
            )
        return made

    def _custom(self, provider: str, losses: Losses) -> None:
        """A policy that delegates, to this server or to another authorizer, which may deny what we would allow."""
        if provider not in self._scope.this_server:
            self.problems.append(
                Problem(
                    losses.where,
                    f"delegates to the extension provider {provider!r}: what that denies would be allowed without it",
                    "name it with --this-server if it is extauthz, or leave the policy out of the input",
                )
            )

    def _sure(self, form: AuthorizationForm, namespace: str) -> frozenset[str] | None:
        """The providers whose tokens Istio looks at wherever a policy applies; None if nobody said."""
        if not self._authentications:
            return None
        spec = form.spec
        return frozenset().union(
            *(
                one.providers
                for one in self._authentications
                if not self._scope.workloads
                or one.covers(namespace, spec.labels, self._scope.root, whole=spec.attached)
            )
        )

    def _authenticated(
        self, made: list[dict[str, Any]], sure: frozenset[str] | None, losses: Losses
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rules that allow, and whose tokens count for them."""
        authentication: dict[str, Any] = {}
        if sure is not None:
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

    def _targets(self, form: AuthorizationForm, namespace: str, losses: Losses, *, deny: bool) -> list[dict[str, Any]]:
        target: dict[str, Any] = {"hosts": list(self._scope.hosts)} if self._scope.hosts else {}
        chosen = dict(form.spec.labels)
        if form.spec.attached:
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


def _full(name: str, namespace: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def _allows(label: str, made: MadeRule) -> Sequence[dict[str, Any]]:
    words = _words(made)
    when = {"when": made.when} if made.when else {}
    told = [{"name": label, **words, **when}]
    if not made.token:
        told.append({"name": f"{label}-{ANONYMOUS}", "role": ANONYMOUS, **words, **when})
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
