"""Rules: to -> from -> role -> when, and how far along a request gets.

The same rule means two things. Among ``rules`` it allows, so whatever is in doubt must not match; in ``deny`` it forbids,
so whatever is in doubt must match. The differences all follow from that (the first four are in ``extauthz.policy.words``
and ``paths``, the others here and in ``compilation``):

=====================================  ==================  =================
in doubt                               allow               deny
=====================================  ==================  =================
not* word, attribute absent            no match            match
client address can't be told           no match            match
``/x`` asked for as ``/x/``            no match            match
positive word, attribute absent        no match            no match
rule without ``role``                  any identity        everybody
no HTTP (TCP)                          just ports          any entry
CONNECT                                named in methods    any entry
``when`` gives an error                no match            denied
=====================================  ==================  =================
"""

from dataclasses import dataclass
from enum import IntEnum

from extauthz.errors import Position
from extauthz.model import Deny, Reason, Request
from extauthz.policy.expression import Condition
from extauthz.policy.facts import Facts
from extauthz.policy.meter import Meter
from extauthz.policy.words import Entry

__all__ = ["Rule", "Stage"]


class Stage(IntEnum):
    """How far a request got along a rule, in order; the first part that fails names it."""

    TO = 0
    FROM = 1
    ROLE = 2
    WHEN = 3
    MATCHED = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule of ``rules`` or ``deny``."""

    policy: str
    name: str
    where: Position
    """Where it was written."""
    deny: bool
    shadow: bool
    """Evaluated and told, without effect."""
    roles: frozenset[str] | None
    to: tuple[Entry, ...] | None
    to_without_http: tuple[Entry, ...] | None
    """The entries that can mean a request without HTTP; None for any."""
    to_connect: tuple[Entry, ...] | None
    """The entries that can mean a CONNECT; None for any."""
    sources: tuple[Entry, ...] | None
    when: Condition | None
    meter: Meter | None
    """Its rate; None without one, and in ``deny``."""
    wants_credentials: bool
    """Somebody with credentials could match it, as it does not ask for role ``anonymous`` alone."""
    denials: tuple[Deny, ...]
    """The denial for each stage that a request may stop at, made once."""

    @property
    def per_minute(self) -> int | None:
        """The rate that it is ranked by among rules that allow the same request; None is above all rates."""
        return None if self.meter is None or self.meter.shadow else self.meter.rate.per_minute

    def judge(self, facts: Facts) -> Stage:
        """How far a request gets along a rule that allows."""
        stage = self.reach(facts)
        if stage is Stage.WHEN and (self.when is None or self.when.holds(facts.bound) is True):
            return Stage.MATCHED
        return stage

    def reach(self, facts: Facts) -> Stage:
        """How far a request gets before the condition is asked."""
        request = facts.request
        operations = self.to if request.http and request.method != "CONNECT" else self.operations(facts)
        if operations is not None and not _any_matches(operations, request):
            return Stage.TO
        if self.sources is not None and not _any_matches(self.sources, request):
            return Stage.FROM
        if self.roles is None:
            taken = self.deny or facts.identity is not None
        else:
            taken = not self.roles.isdisjoint(facts.roles)
        return Stage.WHEN if taken else Stage.ROLE

    def operations(self, facts: Facts) -> tuple[Entry, ...] | None:
        """The entries of ``to`` that can mean a request of this kind; None for any request."""
        request = facts.request
        if not request.http:
            return self.to_without_http
        return self.to_connect if request.method == "CONNECT" else self.to

    def refusal(self, stage: Stage, facts: Facts) -> Deny:
        """The denial of a request that got this far along a rule that allows, and no further."""
        if stage is Stage.WHEN and self.when is not None and self.when.holds(facts.bound) is None:
            return self._unevaluated(self.when, facts)
        return self.denials[stage]

    def denial(self, facts: Facts) -> Deny | None:
        """For a rule of ``deny``: the denial if it matches or if its condition errs, else None."""
        if self.reach(facts) is not Stage.WHEN:
            return None
        if self.when is not None:
            holds = self.when.holds(facts.bound)
            if holds is None:
                return self._unevaluated(self.when, facts)
            if not holds:
                return None
        return self.denials[Stage.MATCHED]

    def could_deny(self, facts: Facts) -> bool:
        """For a rule of ``deny``: whether it may match a caller of whom nothing is known but that there is one."""
        if self.reach(facts) < Stage.ROLE:
            return False
        when = self.when
        if when is None or when.asks_for_caller:
            return when is not None or self.roles is not None
        return self.roles is not None and when.holds(facts.bound) is not False

    def _unevaluated(self, when: Condition, facts: Facts) -> Deny:
        detail = f"`when` gave no value but the error {when.error(facts.bound)}"
        return Deny(Reason.CONDITION_ERROR, detail, policy=self.policy, rule=self.name)


def _any_matches(entries: tuple[Entry, ...], request: Request) -> bool:
    """Whether one of the entries matches; a loop, because a generator costs as much as the match itself."""
    for entry in entries:  # noqa: SIM110
        if entry.matches(request):
            return True
    return False
