"""What is wrong between policies that are right by themselves.

Several policies can cover one request, and then the headers of all of them are set. If two could set one header to
different values, or one set it and the other remove it, the outcome would depend on an order that does not exist. So such
a pair is refused when it is loaded, if some request can be covered by both.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from extauthz.errors import Position, Problem
from extauthz.policy.policy import Policy

__all__ = ["Written", "header_conflicts"]


@dataclass(frozen=True, slots=True)
class Written:
    """A policy and the places of the headers that it sets and removes."""

    policy: Policy
    sets: dict[str, Position]
    removes: dict[str, Position]


def header_conflicts(policies: Sequence[Written]) -> Iterator[Problem]:
    """Every pair of policies that can cover one request and disagree on a header."""
    setters: dict[str, dict[str, list[Written]]] = {}
    removers: dict[str, list[Written]] = {}
    for written in sorted(policies, key=lambda written: written.policy.name):
        for header in written.policy.headers:
            setters.setdefault(header.name, {}).setdefault(header.expression.source.strip(), []).append(written)
        for name in written.policy.remove_headers:
            removers.setdefault(name, []).append(written)
    for name, by_source in setters.items():
        groups = list(by_source.values())
        for number, group in enumerate(groups):
            for later in groups[number + 1 :]:
                yield from _differing(name, group, later)
            yield from _removed(name, group, removers.get(name, ()))


def _differing(name: str, some: Iterable[Written], others: Iterable[Written]) -> Iterator[Problem]:
    for one, other in product(some, others):
        if one.policy.overlaps(other.policy):
            first, second = sorted((one, other), key=lambda written: written.sets[name])
            yield Problem(
                second.sets[name],
                f"header {name!r} gets another value here than from policy {first.policy.name!r} at {first.sets[name]}, "
                "and both can cover one request",
                "give both the same expression, or make their targets differ",
            )


def _removed(name: str, setters: Iterable[Written], removers: Iterable[Written]) -> Iterator[Problem]:
    for setter, remover in product(setters, removers):
        if setter.policy.overlaps(remover.policy):
            yield Problem(
                remover.removes[name],
                f"header {name!r} is removed here and set by policy {setter.policy.name!r} at {setter.sets[name]}, "
                "and both can cover one request",
                "a header that is set need not be removed: the client's value never gets through",
            )
