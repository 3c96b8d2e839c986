"""A set of policies in force: which of them cover a request, and what they say together.

A snapshot never changes and has a generation number; a reload makes another one and swaps one reference, so a request is
judged by one set from beginning to end. Everything is synchronous and pure: the same request, caller and snapshot give the
same verdict anywhere.

How policies combine: no policy covers the request: denied. A rule of ``deny`` of any of them matches: denied, whoever
asks. A true CORS preflight passes if one of them lets preflights pass. A rule of a policy that accepts the caller matches:
allowed, with the headers of all policies that cover the request and accept the caller, and without those that any policy
that covers it removes; of several rules that match the one with the highest rate is taken, and one without a rate before
all. Else denied; if credentials were absent and could have helped the answer asks for them, and otherwise the rule that
the request got furthest along says why. Policies are kept sorted by name, so nothing depends on the order of files, and
ties neither.

Rules are not walked: ``extauthz.policy.masks`` finds the few that could match, so a decision among ten thousand rules
costs about what it costs among ten.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from extauthz.canonical import HeaderTwins
from extauthz.model import Allow, Deny, Identity, Reason, Request, ShadowVerdict
from extauthz.policy.callers import Callers
from extauthz.policy.coverage import Coverage
from extauthz.policy.explanation import PolicyExplanation, policy_seen
from extauthz.policy.facts import Facts
from extauthz.policy.masks import Lane, RuleMasks, bits
from extauthz.policy.pace import paced
from extauthz.policy.policy import Policy
from extauthz.policy.refusals import Furthest, furthest, not_accepted, nothing_for_it, without_credentials
from extauthz.policy.rule import Rule, Stage
from extauthz.policy.selection import Headers, Selection

__all__ = ["Snapshot", "empty"]

_NO_POLICY: Final = Deny(Reason.NO_POLICY)
_PREFLIGHT: Final = "preflight"


class Snapshot:
    """An immutable set of compiled policies."""

    __slots__ = (
        "_alone",
        "_coverage",
        "_covering",
        "_denies",
        "_fold",
        "_needs",
        "_ranks",
        "_rated",
        "_rules",
        "_shadow_needs",
        "generation",
        "has_shadows",
        "owned_headers",
        "policies",
        "shadows",
        "twins",
    )

    def __init__(self, policies: Iterable[Policy], generation: int, *, case_insensitive_paths: bool = False) -> None:
        """Put policies in force, and others in shadow mode; ``generation`` is told in every decision."""
        ordered = sorted(paced(policies), key=lambda policy: policy.name)
        self.generation = generation
        self.policies = tuple(policy for policy in paced(ordered) if not policy.shadow)
        """Those that are in force, sorted by name."""
        self.shadows = tuple(policy for policy in paced(ordered) if policy.shadow)
        """Those in shadow mode: no decision is made by them."""
        self.owned_headers = tuple(
            sorted({header.name for policy in paced(self.policies) for header in policy.headers})
        )
        """Every header name that any policy may set: each allow sets or removes each of them."""
        removed = {name for policy in paced(self.policies) for name in policy.remove_headers}
        self.twins = HeaderTwins({*self.owned_headers, *removed})
        """Knows every name that policies set or remove, to refuse its forgeries."""
        self._needs = frozenset[str]().union(*(policy.needs for policy in paced(self.policies)))
        self._shadow_needs = frozenset[str]().union(*(policy.needs for policy in self.shadows))
        self._fold = case_insensitive_paths
        self.has_shadows = bool(self.shadows) or any(policy.shadow_rules for policy in paced(self.policies))
        """Whether anything is in shadow mode."""
        self._alone = {policy.name: self._only(policy) for policy in self.shadows}
        self._covering = self._only(*self.shadows) if self.shadows else None
        self._index_rules()

    def _index_rules(self) -> None:
        """All rules in force in one numbering: by the policy's name, then by place."""
        rules: list[Rule] = []
        denies: list[Rule] = []
        rules_of = [_append(rules, policy.rules) for policy in paced(self.policies)]
        denies_of = [_append(denies, policy.deny) for policy in paced(self.policies)]
        self._coverage = Coverage(self.policies, rules_of, denies_of, self.owned_headers)
        self._rules = RuleMasks(rules, deny=False, fold=self._fold)
        self._denies = RuleMasks(denies, deny=True, fold=self._fold)
        rated = [(number, rule.per_minute) for number, rule in enumerate(paced(rules)) if rule.per_minute is not None]
        self._ranks = {number: -(per_minute or 0) for number, per_minute in rated}
        """Numbers of rules with a rate: the smallest rank is tried first."""
        self._rated = 0
        for number in paced(self._ranks):
            self._rated |= 1 << number

    def select(self, request: Request) -> Selection:
        """The policies whose targets match a request."""
        return self._coverage.select(request)

    def _only(self, *policies: Policy) -> "Snapshot":
        """A set in which these shadow policies are in force."""
        enforced = (replace(policy, shadow=False) for policy in policies)
        return Snapshot(enforced, self.generation, case_insensitive_paths=self._fold)

    @property
    def rated(self) -> frozenset[tuple[str, str]]:
        """Policies and rules in force that have a rate."""
        return frozenset(
            (rule.policy, rule.name)
            for policy in self.policies
            for rule in policy.rules
            if rule.meter is not None and not rule.shadow
        )

    @property
    def told_in_shadow(self) -> frozenset[str]:
        """Names of policies that shadow verdicts may be about: their mode, a rule of theirs or its rate is Shadow."""
        names = {policy.name for policy in self.shadows}
        for policy in self.policies:
            rated = any(rule.meter is not None and rule.meter.shadow for rule in policy.rules)
            if rated or policy.shadow_rules:
                names.add(policy.name)
        return frozenset(names)

    def shadows_of(self, request: Request) -> "tuple[Snapshot, ...]":
        """The shadow policies that cover a request, each as if it were the only one in force."""
        if self._covering is None:
            return ()
        return tuple(self._alone[policy.name] for policy in self._covering.select(request).policies)

    def shadow_rules(
        self, request: Request, selection: Selection, identity: Identity | None, peer: Identity | Deny | None = None
    ) -> tuple[ShadowVerdict, ...]:
        """The shadow rules that match, each with the decision as if it were in force too. Arguments as for ``decide``."""
        if not any(policy.shadow_rules for policy in selection.policies):
            return ()
        callers = Callers(request, identity, peer, self._needs, fold=self._fold)
        told: list[ShadowVerdict] = []
        for policy in selection.policies:
            for rule in policy.shadow_rules:
                verdict = self._shadow_verdict(rule, policy, selection, callers)
                if verdict is not None:
                    told.append(ShadowVerdict(policy.name, rule.name, verdict))
        return tuple(told)

    def _shadow_verdict(
        self, rule: Rule, policy: Policy, selection: Selection, callers: Callers
    ) -> Allow | Deny | None:
        if rule.deny:
            return callers.denial(rule, policy)
        facts = callers.accepted_by(policy)
        if facts is None or rule.judge(facts) is not Stage.MATCHED:
            return None
        return self._settled(selection, callers) or Allow(policy.name, rule.name)

    def explain(
        self, request: Request, selection: Selection, identity: Identity | None, peer: Identity | Deny | None = None
    ) -> PolicyExplanation:
        """Every policy and rule, with what matched and what did not, and the verdict. Arguments as for ``decide``."""
        callers = Callers(request, identity, peer, self._needs | self._shadow_needs, fold=self._fold)
        seen = (policy_seen(policy, callers) for policy in (*self.policies, *self.shadows))
        return PolicyExplanation(self.decide(request, selection, identity, peer), tuple(seen))

    def conditional(
        self, request: Request, selection: Selection, identity: Identity | None, peer: Identity | Deny | None = None
    ) -> Iterator[Rule]:
        """The rules of which nothing but the condition is left to ask, for one caller or the other.

        Arguments as for ``decide``; a rule may come twice.
        """
        callers = Callers(request, identity, peer, frozenset(), fold=self._fold)
        for facts in (callers.facts, callers.known):
            if facts is None:
                continue
            for masks, among in ((self._denies, selection.deny), (self._rules, selection.rules)):
                reachable = masks.reachable(facts, masks.applicable(facts, among))
                for number in bits(masks.taken(facts, reachable, anybody=True)):
                    rule = masks.rules[number]
                    if rule.when is not None and rule.reach(facts) is Stage.WHEN:
                        yield rule

    def decide(
        self,
        request: Request,
        selection: Selection,
        identity: Identity | None,
        peer: Identity | Deny | None = None,
    ) -> Allow | Deny:
        """The verdict of the selected policies.

        ``identity`` is None if the request carried no token or other credential; one that was refused never comes here:
        its denial is final. ``peer`` is what the connection proves to the selection's ``mesh_providers``.
        """
        if not selection.policies:
            return _NO_POLICY
        callers = Callers(request, identity, peer, self._needs, fold=self._fold)
        return self._settled(selection, callers) or self._judge(selection, callers)

    def _settled(self, selection: Selection, callers: Callers) -> Allow | Deny | None:
        """The verdict before the rules that allow are asked; None if they are to be asked."""
        if selection.deny:
            denial = self._denial(selection, callers)
            if denial is not None:
                return denial
        if callers.facts.request.preflight and selection.preflight is not None:
            # A preflight has no caller whom a header could tell of: it takes none of ours along.
            return Allow(selection.preflight.name, _PREFLIGHT, remove_headers=selection.removable)
        return callers.refusal(mesh=bool(selection.mesh_providers))

    def _denial(self, selection: Selection, callers: Callers) -> Deny | None:
        """The denial by the first rule of ``deny`` that matches."""
        masks = self._denies
        facts = callers.facts
        candidates = masks.reachable(facts, masks.applicable(facts, selection.deny))
        if callers.peer is None:
            candidates = masks.taken(facts, candidates, anybody=True)
        for number in bits(candidates):
            rule = masks.rules[number]
            denial = callers.denial(rule, selection.policy(rule.policy))
            if denial is not None:
                return denial
        return None

    def _judge(self, selection: Selection, callers: Callers) -> Allow | Deny:
        """Ask the rules of the policies that accept a caller."""
        facts = callers.facts
        acceptance = selection.acceptance(facts.identity, callers.peer)
        masks = self._rules
        lane = masks.lane(facts, acceptance.token)
        if not acceptance.peer and lane.taken.bit_count() == 1:
            # Nearly always there is one rule to ask, and it allows.
            rule = masks.rules[lane.taken.bit_length() - 1]
            if rule.judge(facts) is Stage.MATCHED:
                return self._allow(rule, acceptance.headers, callers, facts)
        lanes = [lane]
        if acceptance.peer and callers.known is not None:
            lanes.append(masks.lane(callers.known, acceptance.peer))
        best = Furthest()
        for number, asking in self._ranked(lanes):
            rule = masks.rules[number]
            stage = rule.judge(asking)
            if stage is Stage.MATCHED:
                headers = acceptance.headers if asking is facts else acceptance.peer_headers
                return self._allow(rule, headers, callers, asking)
            best.note(stage, number, asking)
        for lane in lanes:
            furthest(masks, lane, best)
        refusal = best.refusal(masks)
        strangers = selection.strangers(callers.facts.identity, callers.peer)
        if strangers is not None:
            told = without_credentials(masks, callers.facts, strangers, refusal)
            return told or nothing_for_it(selection.policies)
        if refusal is not None:
            return refusal
        if not acceptance.policies:
            return not_accepted(selection.policies)
        return nothing_for_it(acceptance.policies)

    def _ranked(self, lanes: list[Lane]) -> Iterator[tuple[int, Facts]]:
        """The rules that could allow, the one that is to be taken first: without a rate, then by rate, then in order."""
        if len(lanes) == 1:
            facts, taken = lanes[0].facts, lanes[0].taken
            rated = taken & self._rated if self._rated else 0
            free = taken ^ rated if rated else taken
            if free:
                for number in bits(free):
                    yield number, facts
            if rated.bit_count() == 1:
                yield rated.bit_length() - 1, facts
            elif rated:
                for number in sorted(bits(rated), key=self._ranks.__getitem__):
                    yield number, facts
            return
        of = {number: lane.facts for lane in lanes for number in bits(lane.taken)}
        for number in sorted(of, key=lambda number: (self._ranks.get(number, float("-inf")), number)):
            yield number, of[number]

    def _allow(self, rule: Rule, headers: Headers, callers: Callers, facts: Facts) -> Allow:
        """An allow in which each owned header is either set or removed (I5)."""
        kept = []
        gone = headers.others
        for header, of_peer in headers.told:
            seen = callers.known if of_peer else callers.facts
            value = header.value(facts if seen is None else seen)
            if value is not None:
                kept.append((header.name, value))
            else:
                gone = (*gone, header.name)
        charge = None if rule.meter is None else rule.meter.charge(facts)
        return Allow(rule.policy, rule.name, tuple(kept), gone, charge)


def _append(rules: list[Rule], more: Iterable[Rule]) -> int:
    """Number the enforced ones among some more rules; gives their mask."""
    first = len(rules)
    rules.extend(rule for rule in more if not rule.shadow)
    return (1 << len(rules)) - (1 << first)


def empty(generation: int = 0) -> Snapshot:
    """The set without policies: it denies everything, because no policy covers it."""
    return Snapshot((), generation)
