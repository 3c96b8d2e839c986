"""Which policies cover a request: told by its host and context, with lookups and not by asking each policy.

A policy stands under each host name and each ``*.x`` of its targets, and under each pair of its contexts. What the lookups
find is exact but for policies with contexts, which are asked; a request names few pairs, so few of them are.
"""

from collections.abc import Sequence

from extauthz.model import Request
from extauthz.policy.masks import HostMasks, bits
from extauthz.policy.pace import paced
from extauthz.policy.policy import Policy
from extauthz.policy.selection import Selection

__all__ = ["Coverage"]

_MAX_KEPT = 1_000_000
"""Policies in all selections that are kept; eight bytes each, and a bit for each rule."""


class Coverage:
    """Finds the selection for each request. Selections that occurred are kept."""

    __slots__ = (
        "_context",
        "_denies_of",
        "_hosts",
        "_kept",
        "_latest",
        "_owned_headers",
        "_policies",
        "_rules_of",
        "_selections",
        "_with_context",
        "_without_context",
    )

    def __init__(
        self,
        policies: Sequence[Policy],
        rules_of: Sequence[int],
        denies_of: Sequence[int],
        owned_headers: Sequence[str],
    ) -> None:
        """Index policies, of which the masks of their rules are given."""
        self._policies = tuple(policies)
        self._rules_of = tuple(rules_of)
        self._denies_of = tuple(denies_of)
        self._owned_headers = tuple(owned_headers)
        self._hosts = HostMasks()
        self._context: dict[tuple[str, str], int] = {}
        self._with_context = 0
        """Policies that name a context in some target."""
        self._without_context = 0
        """Policies that name none in some target."""
        for number, policy in enumerate(paced(self._policies)):
            self._add(policy, 1 << number)
        self._selections: dict[int, Selection] = {}
        self._kept = 0
        self._latest = 0, self._make(0)

    def _add(self, policy: Policy, mask: int) -> None:
        if not policy.targets or any(not target.patterns for target in policy.targets):
            self._hosts.add_unasked(mask)
        if not policy.targets or any(not target.context for target in policy.targets):
            self._without_context |= mask
        if any(target.context for target in policy.targets):
            self._with_context |= mask
        for target in policy.targets:
            self._hosts.add(target.patterns, mask)
            for pair in target.context.items():
                self._context[pair] = self._context.get(pair, 0) | mask

    def select(self, request: Request) -> Selection:
        """The policies whose targets match a request."""
        found = self._hosts.find(request.host)
        if self._with_context:
            named = self._without_context
            for pair in request.context.items():
                named |= self._context.get(pair, 0)
            found &= named
            for number in bits(found & self._with_context):
                if not self._policies[number].matches(request):
                    found ^= 1 << number
        # Comparing is a tenth of the work of hashing, and often all requests are covered by the same.
        mask, selection = self._latest
        if found != mask:
            selection = self._selections.get(found) or self._make(found)
            self._latest = found, selection
        return selection

    def _make(self, mask: int) -> Selection:
        """Make a selection and keep it, as long as there is room."""
        numbers = tuple(bits(mask))
        made = Selection(
            [self._policies[number] for number in numbers],
            [self._rules_of[number] for number in numbers],
            [self._denies_of[number] for number in numbers],
            self._owned_headers,
        )
        if self._kept + len(numbers) > _MAX_KEPT:
            self._selections.clear()
            self._kept = 0
        self._selections[mask] = made
        self._kept += len(numbers) + 1
        return made
