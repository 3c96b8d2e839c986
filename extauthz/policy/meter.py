"""What a rule's rate counts: from a caller who is allowed to the charge that a limiter is asked to grant.

``per`` says whose requests are counted together. ``caller`` is the provider and its subject; a caller without credentials
has neither, and is counted by the client's address: else one of them could use up the rate of all. ``role`` counts all
callers of a role together, ``address`` those of an address (of IPv6 the /64, which is what one client has), and
``claim:<path>`` those whose token says the same there; tokens that say nothing there are one.

A key never holds the rate, so that changing it keeps what was counted, and it is a digest: nothing of a caller is told to
a store. Nothing else of the request is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from extauthz.canonical import charge_text, counted_address, key_of
from extauthz.model import Charge, Rate
from extauthz.policy.facts import Facts

__all__ = ["Meter"]

_CALLER, _ROLE, _ADDRESS = "caller", "role", "address"
_SHORT: Final = 128
"""Characters of a subject whose charge is worth remembering."""


@dataclass(frozen=True, slots=True, eq=False)  # each is itself alone, which is what the charges are remembered by
class Meter:
    """The rate of one rule."""

    policy: str
    rule: str
    rate: Rate
    per: str
    """``caller``, ``role``, ``address`` or ``claim``."""
    claim: tuple[str, ...]
    """The path of the claim."""
    roles: tuple[str, ...]
    """The rule's roles, as they were written."""
    shadow: bool
    local_without_store: bool

    prefix: str
    """Of the text of every key: policy and rule."""

    def charge(self, facts: Facts) -> Charge:
        """The charge of a caller whom the rule allows."""
        identity = facts.identity
        if self.per == _CALLER and identity is not None and len(identity.subject) <= _SHORT:
            return _of_caller(self, identity.provider, identity.subject)
        return self._charge(self._whose(facts))

    def _charge(self, whose: str) -> Charge:
        key = key_of(self.prefix + whose)
        return Charge(key, self.rate, self.policy, self.rule, self.shadow, self.local_without_store)

    def _whose(self, facts: Facts) -> str:
        identity, per = facts.identity, self.per
        if per == _CALLER and identity is not None:
            return charge_text(_CALLER, identity.provider, identity.subject)
        if per in (_ADDRESS, _CALLER):
            address = facts.request.client_ip
            return charge_text(_ADDRESS, "" if address is None else counted_address(address))
        if per == _ROLE:
            return charge_text(_ROLE, next((role for role in self.roles if role in facts.roles), ""))
        if identity is None:
            return charge_text(per)
        return charge_text(per, identity.provider, *_claim(identity.claims, self.claim))


@lru_cache(maxsize=16_384)
def _of_caller(meter: Meter, provider: str, subject: str) -> Charge:
    """The charge of a caller with credentials: the same each time, and its digest is half of what a rate costs."""
    return meter._charge(charge_text(_CALLER, provider, subject))  # noqa: SLF001 - it is a part of the class


def _claim(claims: Mapping[str, Any], path: tuple[str, ...]) -> tuple[str, ...]:
    """The type and text of a claim, so that 1 and "1" are two; empty if it is missing or no single value."""
    value: Any = claims
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return (type(value).__name__, str(value)) if isinstance(value, str | int | float) else ()
