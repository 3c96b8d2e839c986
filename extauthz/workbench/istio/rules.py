"""One rule of an AuthorizationPolicy as rules of ours.

Istio joins lists of alternatives (``from``, ``to``) and conditions (``when``). Where all of it can be said in our words, one
rule of ours is made; where some part needs CEL, which stands beside the whole rule, each pair of a source and an operation
becomes a rule of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from extauthz.workbench.istio.conditions import say_condition
from extauthz.workbench.istio.form import ConditionForm, RuleForm
from extauthz.workbench.istio.operations import say_operation
from extauthz.workbench.istio.parts import Inexpressible, Part, Side
from extauthz.workbench.istio.sources import say_source

__all__ = ["MadeRule", "made_rules"]

_Form = TypeVar("_Form")


@dataclass(frozen=True, slots=True)
class MadeRule:
    """A rule of ours, without name and role."""

    to: tuple[dict[str, list[Any]], ...]
    sources: tuple[dict[str, list[Any]], ...]
    when: str
    token: bool
    """Only callers with a token can match."""


def made_rules(rule: RuleForm, side: Side) -> list[MadeRule]:
    """The rules that mean what one of Istio's means, or less where it allows, or more where it denies."""
    sources = _alternatives("source", [entry.source for entry in rule.from_ or ()], say_source, side)
    operations = _alternatives("operation", [entry.operation for entry in rule.to or ()], say_operation, side)
    condition = _conditions(rule.when, side)
    if not sources or not operations or condition is None:
        return []
    if condition.words or any(part.conditions or part.token for part in (*sources, *operations)):
        return list(_crossed(sources, operations, condition, side))
    to = tuple(part.words for part in operations if part.words)
    said = tuple(part.words for part in sources if part.words)
    # An alternative that says nothing matches everything, and so does the list.
    to = to if len(to) == len(operations) else ()
    said = said if len(said) == len(sources) else ()
    return [MadeRule(to, said, " && ".join(condition.conditions), condition.token)]


def _crossed(sources: Sequence[Part], operations: Sequence[Part], condition: Part, side: Side) -> Iterator[MadeRule]:
    for source, operation in product(sources, operations):
        said, to = dict(source.words), dict(operation.words)
        clash = False
        for name, values in condition.words.items():
            words = to if name in ("ports", "notPorts") else said
            if words.get(name) == values:
                continue
            if name in words and not name.startswith("not"):
                clash = True
                side.losses.add("two-lists", f"{name} is asked for twice, and both must hold", "write one list")
            elif name in words:
                words[name] = [*words[name], *values]
            else:
                words[name] = values
        if clash and not side.deny:
            continue
        conditions = [*source.conditions, *operation.conditions, *condition.conditions]
        yield MadeRule(
            (to,) if to else (),
            (said,) if said else (),
            " && ".join(conditions),
            source.token or operation.token or condition.token,
        )


def _alternatives(
    name: str, forms: Sequence[_Form], say: Callable[[_Form, Part, Side], None], side: Side
) -> list[Part]:
    """The alternatives that could be said; one that says nothing for an absent list; none if nothing is left."""
    if not forms:
        return [Part()]
    parts = []
    for form in forms:
        part = Part()
        try:
            say(form, part, side)
        except Inexpressible as reason:
            if not side.deny:
                side.losses.add("left-out", f"{reason}: this alternative of `{name}` is left out, so less is allowed")
                continue
            side.losses.add("denies-more", f"{reason}: this alternative of `{name}` is taken to match always")
            part = Part()
        parts.append(part)
    return parts


def _conditions(entries: Sequence[ConditionForm], side: Side) -> Part | None:
    """All of ``when``; None if what allows can't be said."""
    part = Part()
    for entry in entries:
        try:
            say_condition(entry, part, side)
        except Inexpressible as reason:
            if not side.deny:
                side.losses.add("left-out", f"{reason}: the rule is left out, so less is allowed")
                return None
            side.losses.add("denies-more", f"{reason}: the condition is left out, so more is denied")
    return part
