"""What is wrong between policies that are right by themselves.

Several policies can cover one request, and then the headers of all of them are set. If two could set one header to
different values, or one set it and the other remove it, the outcome would depend on an order that does not exist. So such
a pair is refused when it is loaded, if some request can be covered by both. A policy in shadow mode sets nothing, and to
try another header beside the one in force is what it is there for: so it takes no part.

Each policy is told of one conflict a header, with a policy that was written before it. The policies before it are found by
the hosts and contexts of their targets, so that thousands of them, one for each tenant, are not compared pair by pair.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from extauthz.errors import Position, Problem
from extauthz.policy.patterns import HostPattern
from extauthz.policy.policy import Policy, Target

__all__ = ["Written", "header_conflicts"]


@dataclass(frozen=True, slots=True)
class Written:
    """A policy and the places of the headers that it sets and removes."""

    policy: Policy
    sets: dict[str, Position]
    removes: dict[str, Position]


@dataclass(frozen=True, slots=True)
class _Use:
    """What a policy does to a header."""

    policy: str
    place: Position
    value: str | None
    """The expression that sets it; None if it is removed."""


def header_conflicts(policies: Sequence[Written]) -> Iterator[Problem]:
    """Policies in force that can cover one request together with an earlier one and disagree on a header."""
    uses: dict[str, list[tuple[_Use, Policy]]] = {}
    for written in policies:
        policy = written.policy
        if policy.shadow:
            continue
        for header in policy.headers:
            use = _Use(policy.name, written.sets[header.name], header.expression.source.strip())
            uses.setdefault(header.name, []).append((use, policy))
        for name in policy.remove_headers:
            uses.setdefault(name, []).append((_Use(policy.name, written.removes[name], None), policy))
    for name, of_header in uses.items():
        if len({use.value for use, _ in of_header}) > 1:
            yield from _disagreeing(name, sorted(of_header, key=lambda pair: (pair[0].place, pair[0].policy)))


def _disagreeing(name: str, uses: Iterable[tuple[_Use, Policy]]) -> Iterator[Problem]:
    before = _Uses()
    for use, policy in uses:
        targets = policy.targets or (None,)
        earlier = next((found for target in targets if (found := before.other(target, use))), None)
        if earlier is not None:
            yield _conflict(name, earlier, use)
        for target in targets:
            before.add(target, use)


def _conflict(name: str, earlier: _Use, later: _Use) -> Problem:
    if earlier.value is not None and later.value is not None:
        return Problem(
            later.place,
            f"header {name!r} gets another value here than from policy {earlier.policy!r} at {earlier.place}, "
            "and both can cover one request",
            "give both the same expression, or make their targets differ",
        )
    setter, remover = (later, earlier) if earlier.value is None else (earlier, later)
    return Problem(
        remover.place,
        f"header {name!r} is removed here and set by policy {setter.policy!r} at {setter.place}, "
        "and both can cover one request",
        "a header that is set need not be removed: the client's value never gets through",
    )


_Names = tuple[str, ...]
_ByContext = dict[_Names, dict[tuple[str, ...], dict[str | None, _Use]]]


class _Uses:
    """What the policies so far do to one header, by the hosts and contexts of their targets."""

    def __init__(self) -> None:
        self._by_host: dict[HostPattern, _ByContext] = {}
        self._below: dict[str, list[HostPattern]] = {}
        """The patterns whose hosts are all below a name."""

    def add(self, target: Target | None, use: _Use) -> None:
        """Take in what a policy does where a target matches; None is any request."""
        names, values = _context(target)
        for pattern in _patterns(target):
            if pattern not in self._by_host:
                self._by_host[pattern] = {}
                for name in _parents(pattern):
                    self._below.setdefault(name, []).append(pattern)
            self._by_host[pattern].setdefault(names, {}).setdefault(values, {}).setdefault(use.value, use)

    def other(self, target: Target | None, use: _Use) -> _Use | None:
        """The earliest use with another value that some request of a target is covered by as well."""
        names, values = _context(target)
        found = [
            known
            for pattern in _patterns(target)
            for host in self._overlapping(pattern)
            for uses in _compatible(self._by_host[host], names, values)
            for value, known in uses.items()
            if value != use.value
        ]
        return min(found, key=lambda known: known.place, default=None)

    def _overlapping(self, pattern: HostPattern) -> Iterable[HostPattern]:
        """The known patterns that share a host with one."""
        if pattern.below and not pattern.name:
            return self._by_host
        around = (HostPattern(name, below=True) for name in ("", *_parents(pattern)))
        known = [one for one in (pattern, *around) if one in self._by_host]
        return known + (self._below.get(pattern.name, []) if pattern.below else [])


_ANY = HostPattern("", below=True)


def _patterns(target: Target | None) -> Sequence[HostPattern]:
    return (target.patterns if target is not None else ()) or (_ANY,)


def _parents(pattern: HostPattern) -> list[str]:
    """The names that all hosts of a pattern are below of, but for its own."""
    labels = pattern.name.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels))]


def _context(target: Target | None) -> tuple[_Names, tuple[str, ...]]:
    pairs = sorted(target.context.items()) if target is not None else []
    return tuple(name for name, _ in pairs), tuple(value for _, value in pairs)


def _compatible(known: _ByContext, names: _Names, values: tuple[str, ...]) -> Iterator[dict[str | None, _Use]]:
    """What stands under the contexts that don't contradict one."""
    asked = dict(zip(names, values, strict=True))
    for others, by_values in known.items():
        if others == names:
            if values in by_values:
                yield by_values[values]
            continue
        for given, uses in by_values.items():
            if all(asked.get(name, value) == value for name, value in zip(others, given, strict=True)):
                yield uses
