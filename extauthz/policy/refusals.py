"""Why a request is denied that no rule allows: of the rules that failed, the one that it got furthest along says so.

An operator who reads ``role-missing`` at the rule that was nearly right knows what to mend; "no rule matched" tells
nothing. If credentials were absent and could have helped, the answer asks for them instead. All of this runs for denials
only, off the warm path, but not more slowly with more policies: the same masks lead to the rules that can be furthest.
"""

from collections.abc import Sequence

from extauthz.model import Deny, Reason
from extauthz.policy.facts import Facts
from extauthz.policy.masks import Lane, RuleMasks, bits
from extauthz.policy.policy import Policy
from extauthz.policy.rule import Stage

__all__ = ["Furthest", "furthest", "not_accepted", "nothing_for_it", "without_credentials"]

_NAMED = 5
"""Policies that a text names at most."""


class Furthest:
    """The rule that a request got furthest along so far; of several the first."""

    __slots__ = ("facts", "number", "stage")

    def __init__(self) -> None:
        """Begin with none."""
        self.stage = Stage.TO
        self.number = -1
        self.facts: Facts | None = None

    def note(self, stage: Stage, number: int, facts: Facts) -> None:
        """Take a rule into account; no rule is worth noting at whose ``to`` the request fails."""
        if stage > self.stage or (stage is self.stage and stage is not Stage.TO and number < self.number):
            self.stage, self.number, self.facts = stage, number, facts

    def refusal(self, masks: RuleMasks) -> Deny | None:
        """What the rule says; None if no rule is about the request."""
        return None if self.facts is None else masks.rules[self.number].refusal(self.stage, self.facts)


def furthest(masks: RuleMasks, lane: Lane, into: Furthest) -> None:
    """Note the rule that a request got furthest along among those of a lane that the caller has no role for.

    The others, the lane's ``taken``, were asked before.
    """
    _note_first(masks, lane.without_role, Stage.ROLE, lane.facts, into)
    _note_first(masks, lane.elsewhere, Stage.FROM, lane.facts, into)


def _note_first(masks: RuleMasks, among: int, best: Stage, facts: Facts, into: Furthest) -> None:
    """Note rules up to the first that a request gets as far along as it can get along any of them."""
    if into.stage > best:
        return
    for number in bits(among):
        stage = masks.rules[number].reach(facts)
        into.note(stage, number, facts)
        if stage >= best:
            return


def without_credentials(masks: RuleMasks, facts: Facts, strangers: int, refusal: Deny | None) -> Deny | None:
    """Why a caller is denied who showed the policies of some rules no credentials: 401 if some could have helped.

    ``refusal`` is that of the rule that the request got furthest along; None is returned if no rule is about it.
    """
    rules = masks.rules
    lane = masks.lane(facts, strangers)
    wanting = lane.reachable if masks.all_want_credentials else lane.reachable & masks.wants_credentials
    for number in bits(wanting):
        rule = rules[number]
        if rule.reach(facts) >= Stage.ROLE:
            return Deny(Reason.NO_CREDENTIALS, "a rule could allow it to a known caller", rule.policy, rule.name)
    if refusal is not None:
        return refusal
    best = Furthest()
    for number in bits(lane.taken):
        best.note(rules[number].reach(facts), number, facts)
    furthest(masks, lane, best)
    if best.stage < Stage.ROLE:
        return best.refusal(masks)
    rule = rules[best.number]
    detail = "its policy takes no callers without credentials (authentication.optional)"
    return Deny(Reason.NO_RULE, detail, rule.policy, rule.name)


def nothing_for_it(policies: Sequence[Policy]) -> Deny:
    """No rule is about such a request at all: to name one of them would mislead, and the policy only if it is the only one."""
    policy = policies[0].name if len(policies) == 1 else ""
    return Deny(Reason.NO_RULE, "no rule's `to` matches the request", policy=policy)


def not_accepted(policies: Sequence[Policy]) -> Deny:
    """Why a caller whom no policy accepts is denied."""
    told = [
        f"{policy.name}: " + (", ".join(sorted(policy.providers)) if policy.providers else "any but those of the mesh")
        for policy in policies[:_NAMED]
    ]
    if len(policies) > _NAMED:
        told.append(f"and {len(policies) - _NAMED} more")
    return Deny(Reason.NO_RULE, f"no policy accepts callers of this provider (accepted are: {'; '.join(told)})")
