"""A set of policies in force: which of them cover a request, and what they say together.

A snapshot never changes and has a generation number; a reload makes another one and swaps one reference, so a request is
judged by one set from beginning to end. Everything is synchronous and pure: the same request, caller and snapshot give the
same verdict anywhere.

How policies combine: no policy covers the request: denied. A rule of ``deny`` of any of them matches:
denied, whoever asks. A true CORS preflight passes if one of them lets preflights pass. A rule of a policy that accepts the
caller matches: allowed, with the headers of all policies that cover the request and accept the caller. Else denied; if
credentials were absent and could have helped the answer asks for them, and otherwise the rule that the request got furthest
along says why. Policies are kept sorted by name, so nothing depends on the order of files, and ties neither.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extauthz.model import Allow, Deny, Identity, Reason, Request
from extauthz.policy.facts import Facts
from extauthz.policy.index import HostIndex
from extauthz.policy.policy import Policy
from extauthz.policy.rule import Rule, Stage

__all__ = ["Selection", "Snapshot", "empty"]

_NO_POLICY = Deny(Reason.NO_POLICY)
_PREFLIGHT = "preflight"


@dataclass(frozen=True, slots=True)
class Selection:
    """The policies of a snapshot that cover one request. False if there are none."""

    policies: tuple[Policy, ...]

    def __bool__(self) -> bool:
        """Whether any policy covers the request."""
        return bool(self.policies)


class Snapshot:
    """An immutable set of compiled policies."""

    __slots__ = ("_fold", "_index", "_needs", "generation", "owned_headers", "policies")

    def __init__(self, policies: Iterable[Policy], generation: int, *, case_insensitive_paths: bool = False) -> None:
        """Put policies in force; ``generation`` is told in every decision."""
        self.generation = generation
        self.policies = tuple(sorted(policies, key=lambda policy: policy.name))
        self.owned_headers = tuple(sorted({header.name for policy in self.policies for header in policy.headers}))
        """Every header name that any policy may set: each allow sets or removes each of them."""
        self._needs = frozenset[str]().union(*(policy.needs for policy in self.policies))
        self._index = HostIndex(self.policies)
        self._fold = case_insensitive_paths

    def select(self, request: Request) -> Selection:
        """The policies whose targets match a request."""
        numbers = self._index.candidates(request.host)
        ordered = sorted(numbers) if len(numbers) > 1 else numbers
        candidates = (self.policies[number] for number in ordered)
        return Selection(tuple(policy for policy in candidates if policy.matches(request)))

    def decide(self, request: Request, selection: Selection, identity: Identity | None) -> Allow | Deny:
        """The verdict of the selected policies; ``identity`` is None if the request carried no credentials.

        Credentials that were refused never come here: their denial is final.
        """
        policies = selection.policies
        if not policies:
            return _NO_POLICY
        facts = Facts(request, identity, self._needs, fold=self._fold)
        denial = _denied(policies, facts)
        if denial is not None:
            return denial
        if request.preflight:
            for policy in policies:
                if policy.preflight:
                    return self._pass_preflight(policy, policies)
        return self._judge(policies, facts)

    def _judge(self, policies: tuple[Policy, ...], facts: Facts) -> Allow | Deny:
        """Ask the rules of the policies that accept the caller, in order."""
        accepting = [policy for policy in policies if policy.accepts(facts.identity)]
        furthest: Rule | None = None
        reached = Stage.TO
        for policy in accepting:
            for rule in policy.rules:
                stage = rule.judge(facts)
                if stage is Stage.MATCHED:
                    return self._allow(policy, rule, accepting, facts)
                if furthest is None or stage > reached:
                    furthest, reached = rule, stage
        if facts.identity is None:
            return _without_credentials(policies, furthest, reached, facts)
        if not accepting:
            return _not_accepted(policies)
        if furthest is None or reached is Stage.TO:
            return _nothing_for_it(accepting)
        return furthest.refusal(reached, facts)

    def _allow(self, policy: Policy, rule: Rule, accepting: list[Policy], facts: Facts) -> Allow:
        """An allow in which each owned header is either set or removed (I5)."""
        values: dict[str, str | None] = dict.fromkeys(self.owned_headers)
        removed: set[str] = set()
        for source in accepting:
            for header in source.headers:
                if values[header.name] is None:
                    values[header.name] = header.value(facts)
            removed.update(source.remove_headers)
        kept = tuple((name, value) for name, value in values.items() if value is not None and name not in removed)
        removed.update(values.keys() - {name for name, _ in kept})
        return Allow(policy.name, rule.name, kept, tuple(sorted(removed)))

    def _pass_preflight(self, policy: Policy, policies: Iterable[Policy]) -> Allow:
        """A preflight has no caller whom a header could tell of: it takes none of ours along."""
        removed = {*self.owned_headers, *(name for selected in policies for name in selected.remove_headers)}
        return Allow(policy.name, _PREFLIGHT, remove_headers=tuple(sorted(removed)))


def empty(generation: int = 0) -> Snapshot:
    """The set without policies: it denies everything, because no policy covers it."""
    return Snapshot((), generation)


def _denied(policies: Iterable[Policy], facts: Facts) -> Deny | None:
    """The denial by the first rule of ``deny`` that matches or can't be evaluated."""
    for policy in policies:
        for rule in policy.deny:
            denial = rule.denial(facts)
            if denial is not None:
                return denial
    return None


def _without_credentials(policies: Sequence[Policy], furthest: Rule | None, reached: Stage, facts: Facts) -> Deny:
    """Why a caller without credentials is denied: 401 if credentials could have helped."""
    best: Rule | None = None
    best_stage = Stage.TO
    for policy in policies:
        for rule in policy.rules:
            stage = rule.reach(facts)
            if stage >= Stage.ROLE and rule.wants_credentials:
                return Deny(Reason.NO_CREDENTIALS, "a rule could allow it to a known caller", rule.policy, rule.name)
            if best is None or stage > best_stage:
                best, best_stage = rule, stage
    if furthest is not None and reached is not Stage.TO:
        return furthest.refusal(reached, facts)
    if best is None or best_stage is Stage.TO:
        return _nothing_for_it(policies)
    if best_stage < Stage.ROLE:
        return best.refusal(best_stage, facts)
    detail = "its policy takes no callers without credentials (authentication.optional)"
    return Deny(Reason.NO_RULE, detail, best.policy, best.name)


def _nothing_for_it(policies: Sequence[Policy]) -> Deny:
    """No rule is about such a request at all: to name one of them would mislead, and the policy only if it is the only one."""
    policy = policies[0].name if len(policies) == 1 else ""
    return Deny(Reason.NO_RULE, "no rule's `to` matches the request", policy=policy)


def _not_accepted(policies: Iterable[Policy]) -> Deny:
    """Why a caller whom no policy accepts is denied."""
    told = "; ".join(
        f"{policy.name}: " + (", ".join(sorted(policy.providers)) if policy.providers else "any but those of the mesh")
        for policy in policies
    )
    return Deny(Reason.NO_RULE, f"no policy accepts callers of this provider (accepted are: {told})")
