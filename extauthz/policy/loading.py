"""From texts to a snapshot, or to everything that is wrong with them.

A set of policies is taken whole or not at all. So nothing stops at the first mistake: the YAML of every text, the form of
every document, every expression in it and what is wrong between documents are looked at each for itself, and one error
tells it all, sorted by place. Expressions are compiled straight from the document, so that a mistake in a path does not
hide one in a condition; equal expressions are compiled once.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from extauthz.documents import Document, read_documents, validation_problems
from extauthz.errors import PolicyError, Position, Problem
from extauthz.policy.compilation import compile_policy, policy_name
from extauthz.policy.conflicts import Written, header_conflicts
from extauthz.policy.expression import Condition, Fault, HeaderValue, read_condition, read_header_value
from extauthz.policy.form import PolicyForm
from extauthz.policy.places import expression_place
from extauthz.policy.settings import PolicySettings, PolicyText
from extauthz.policy.snapshot import Snapshot

__all__ = ["load"]

_KIND = "AuthPolicy"
_RATE_IN_DENY = re.compile(r"unknown key 'spec\.deny\[\d+\]\.(?:maxRequestsPerMinute|burst|per|rateShadow)'")
_Path = tuple[str | int, ...]
_Compiled = TypeVar("_Compiled", Condition, HeaderValue)


def load(texts: Iterable[PolicyText], settings: PolicySettings, generation: int) -> Snapshot:
    """Read, check and compile a set of policies.

    No texts, or texts without documents, are a valid set that denies everything.

    Raises:
        PolicyError: Something is wrong; all problems are in it.
    """
    loader = _Loader(settings)
    for text in texts:
        loader.read(text)
    loader.problems += header_conflicts(loader.policies)
    if loader.problems:
        raise PolicyError(loader.problems)
    return Snapshot(
        (written.policy for written in loader.policies),
        generation,
        case_insensitive_paths=settings.case_insensitive_paths,
    )


class _Loader:
    """What was read of a set so far."""

    def __init__(self, settings: PolicySettings) -> None:
        self.problems: list[Problem] = []
        self.policies: list[Written] = []
        self._settings = settings
        self._names: dict[str, Position] = {}
        self._conditions: dict[str, Condition] = {}
        self._header_values: dict[str, HeaderValue] = {}

    def read(self, text: PolicyText) -> None:
        """Read one text."""
        documents, problems = read_documents(text.text, text.file)
        self.problems += problems
        documents.reverse()
        while documents:
            self._document(documents.pop(), text)  # and be done with it: all their trees at once take long to free

    def _document(self, document: Document, text: PolicyText) -> None:
        problems = list(self._head_problems(document))
        self.problems += problems
        if not isinstance(document.value, dict) or document.value.get("kind", _KIND) != _KIND:
            return  # of another kind: its keys would only be noise
        before = len(self.problems)
        self.problems += self._repeated_names(document)
        self._expressions(document, text)
        try:
            form = PolicyForm.model_validate(document.value, context=self._settings)
        except ValidationError as error:
            self.problems += map(_mended, validation_problems(error, document, PolicyForm))
            return
        if problems or len(self.problems) > before:
            return
        self.policies.append(self._compile(form, document))

    def _head_problems(self, document: Document) -> Iterator[Problem]:
        """What is wrong with a document's kind and version."""
        if not isinstance(document.value, dict):
            yield Problem(document.where(), "a policy document must be a mapping")
            return
        kind, version = document.value.get("kind", _KIND), document.value.get("apiVersion")
        wanted = f"{self._settings.group}/v1"
        if kind != _KIND:
            yield Problem(document.where(("kind",)), f"unknown kind {kind!r}", f"policy files hold only {_KIND}")
        elif isinstance(version, str) and version != wanted:
            yield Problem(document.where(("apiVersion",)), f"unknown apiVersion {version!r}", f"write {wanted}")

    def _repeated_names(self, document: Document) -> Iterator[Problem]:
        """Names that were given before: the policy's in the set, its rules' in the policy."""
        metadata = _at(document.value, "metadata")
        name, namespace = _at(metadata, "name"), _at(metadata, "namespace")
        if isinstance(name, str):
            place = document.where(("metadata", "name"))
            known = policy_name(namespace if isinstance(namespace, str) else "", name)
            first = self._names.setdefault(known, place)
            if first != place:
                yield Problem(place, f"policy {known!r} is already defined at {first}", "give one of them another name")
        rules: dict[str, Position] = {}
        for path, rule in _rules(document):
            name = _at(rule, "name")
            if isinstance(name, str) and name:
                place = document.where((*path, "name"))
                first = rules.setdefault(name, place)
                if first != place:
                    yield Problem(place, f"rule name {name!r} is already used at {first}", "names tell rules apart")

    def _expressions(self, document: Document, text: PolicyText) -> None:
        """Compile every expression of a document, whether the form around it is right or not."""
        at = (document, text)
        for path, rule in _rules(document):
            self._expression((*path, "when"), _at(rule, "when"), read_condition, self._conditions, at=at)
        path = ("spec", "response", "headers")
        headers = _at(_at(_at(document.value, "spec"), "response"), "headers")
        for name, source in headers.items() if isinstance(headers, dict) else ():
            self._expression((*path, name), source, read_header_value, self._header_values, at=at)

    def _expression(
        self,
        path: _Path,
        source: Any,
        read: Callable[[str], _Compiled | list[Fault]],
        known: dict[str, _Compiled],
        *,
        at: tuple[Document, PolicyText],
    ) -> None:
        if not isinstance(source, str) or source in known:
            return
        found = read(source)
        if not isinstance(found, list):
            known[source] = found
            return
        document, text = at
        place = document.where(path)
        for fault in found:
            where = expression_place(text.text, place, source, fault.offset)
            self.problems.append(Problem(where, fault.message, fault.hint))

    def _compile(self, form: PolicyForm, document: Document) -> Written:
        policy = compile_policy(form, self._conditions, self._header_values, self._settings, document.where)
        response: _Path = ("spec", "response")
        return Written(
            policy,
            sets={
                header.name: document.where((*response, "headers", header.name), key=True) for header in policy.headers
            },
            removes={
                name: document.where((*response, "removeHeaders", index))
                for index, name in enumerate(form.spec.response.remove_headers)
            },
        )


def _mended(problem: Problem) -> Problem:
    """A problem with a better mend than the nearest known key, where there is one."""
    if _RATE_IN_DENY.match(problem.message):
        return replace(
            problem, hint="a deny lets nothing pass that could be counted; a rate belongs to a rule of 'rules'"
        )
    return problem


def _rules(document: Document) -> Iterator[tuple[_Path, Any]]:
    """Each rule of a document as it was written, with its path."""
    for words in ("deny", "rules"):
        rules = _at(_at(document.value, "spec"), words)
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            yield ("spec", words, index), rule


def _at(value: Any, key: str) -> Any:
    """The value of a key, or None where there is no mapping or no such key."""
    return value.get(key) if isinstance(value, dict) else None
