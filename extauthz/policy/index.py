"""Which policies could cover a request, by its host: most are told apart without being looked at.

A policy stands under each host name and each ``*.x`` of its targets; those that cover any host, or say nothing of hosts,
stand apart. A lookup asks for the host itself and for each name above it, so it costs as many dictionary lookups as the
host has labels, however many policies there are. What it finds are candidates: their targets still decide.
"""

from collections.abc import Sequence

from extauthz.policy.policy import Policy

__all__ = ["HostIndex"]


class HostIndex:
    """Positions of policies in a sequence, by host."""

    __slots__ = ("_any_host", "_below", "_everywhere", "_literal")

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Sort the policies by what their targets say of hosts."""
        literal: dict[str, set[int]] = {}
        below: dict[str, set[int]] = {}
        any_host: set[int] = set()
        everywhere: set[int] = set()
        for number, policy in enumerate(policies):
            if not policy.targets:
                everywhere.add(number)
            for target in policy.targets:
                if not target.patterns:
                    everywhere.add(number)
                for pattern in target.patterns:
                    if not pattern.below:
                        literal.setdefault(pattern.name, set()).add(number)
                    elif pattern.name:
                        below.setdefault(pattern.name, set()).add(number)
                    else:
                        any_host.add(number)
        self._literal = {host: frozenset(numbers) for host, numbers in literal.items()}
        self._below = {host: frozenset(numbers) for host, numbers in below.items()}
        self._any_host = frozenset(any_host | everywhere)
        self._everywhere = frozenset(everywhere)

    def candidates(self, host: str) -> frozenset[int]:
        """The positions of all policies that could cover a request for a canonical host; empty for one without HTTP."""
        if not host:
            return self._everywhere
        found = self._literal.get(host)
        numbers = self._any_host if found is None else self._any_host | found
        if self._below:
            dot = host.find(".")
            while dot != -1:
                found = self._below.get(host[dot + 1 :])
                if found is not None:
                    numbers = numbers | found
                dot = host.find(".", dot + 1)
        return numbers
