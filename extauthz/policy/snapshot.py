"""A set of policies in force: which of them cover a request, and what they say together.

A snapshot never changes and has a generation number; a reload makes another one and swaps one reference, so a request is
judged by one set from beginning to end. Everything is synchronous and pure: the same request, caller and snapshot give the
same verdict anywhere.

How policies combine: no policy covers the request: denied. A rule of ``deny`` of any of them matches: denied, whoever
asks. A true CORS preflight passes if one of them lets preflights pass. A rule of a policy that accepts the caller matches:
allowed, with the headers of all policies that cover the request and accept the caller, and without those that any policy
that covers it removes. Else denied; if credentials were absent and could have helped the answer asks for them, and
otherwise the rule that the request got furthest along says why. Policies are kept sorted by name, so nothing depends on
the order of files, and ties neither.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extauthz.canonical import HeaderTwins
from extauthz.model import Allow, Deny, Identity, Reason, Request
from extauthz.policy.callers import Callers
from extauthz.policy.facts import Facts
from extauthz.policy.index import HostIndex
from extauthz.policy.policy import Policy
from extauthz.policy.rule import Rule, Stage

__all__ = ["Selection", "Snapshot", "empty"]

_NO_POLICY = Deny(Reason.NO_POLICY)
_PREFLIGHT = "preflight"
_NO_NAMES = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Selection:
    """The policies of a snapshot that cover one request. False if there are none."""

    policies: tuple[Policy, ...]

    def __bool__(self) -> bool:
        """Whether any policy covers the request."""
        return bool(self.policies)

    @property
    def providers(self) -> frozenset[str] | None:
        """The providers whose credentials count: only theirs are looked for. None: those of any, as a policy names none."""
        names = self.policies[0].providers if self.policies else _NO_NAMES
        for policy in self.policies:
            if not policy.providers:
                return None
            if policy.providers != names:
                names |= policy.providers
        return names

    @property
    def mesh_providers(self) -> frozenset[str]:
        """The mesh providers that these policies name; for all others the peer's certificate is no credential."""
        names = _NO_NAMES
        for policy in self.policies:
            if policy.mesh:
                names |= policy.mesh
        return names

    def caller(self, verdict: Allow | Deny, identity: Identity | None, peer: Identity | Deny | None) -> Identity | None:
        """Whom a verdict is about: the caller that counts for the policy that allows, else the token's, else the peer's."""
        if not isinstance(peer, Identity):
            return identity
        if isinstance(verdict, Allow):
            allowing = (policy for policy in self.policies if policy.name == verdict.policy)
            return peer if any(policy.takes_peer(identity, peer) for policy in allowing) else identity
        return identity if identity is not None else peer


class Snapshot:
    """An immutable set of compiled policies."""

    __slots__ = ("_fold", "_index", "_needs", "generation", "owned_headers", "policies", "twins")

    def __init__(self, policies: Iterable[Policy], generation: int, *, case_insensitive_paths: bool = False) -> None:
        """Put policies in force; ``generation`` is told in every decision."""
        self.generation = generation
        self.policies = tuple(sorted(policies, key=lambda policy: policy.name))
        self.owned_headers = tuple(sorted({header.name for policy in self.policies for header in policy.headers}))
        """Every header name that any policy may set: each allow sets or removes each of them."""
        removed = {name for policy in self.policies for name in policy.remove_headers}
        self.twins = HeaderTwins({*self.owned_headers, *removed})
        """Knows every name that policies set or remove, to refuse its forgeries."""
        self._needs = frozenset[str]().union(*(policy.needs for policy in self.policies))
        self._index = HostIndex(self.policies)
        self._fold = case_insensitive_paths

    def select(self, request: Request) -> Selection:
        """The policies whose targets match a request."""
        numbers = self._index.candidates(request.host)
        ordered = sorted(numbers) if len(numbers) > 1 else numbers
        candidates = (self.policies[number] for number in ordered)
        return Selection(tuple(policy for policy in candidates if policy.matches(request)))

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
        policies = selection.policies
        if not policies:
            return _NO_POLICY
        callers = Callers(request, identity, peer, self._needs, fold=self._fold)
        for policy in policies:
            denial = callers.denial(policy)
            if denial is not None:
                return denial
        if request.preflight:
            for policy in policies:
                if policy.preflight:
                    return self._pass_preflight(policy, policies)
        return callers.refusal(policies) or self._judge(policies, callers)

    def _judge(self, policies: tuple[Policy, ...], callers: Callers) -> Allow | Deny:
        """Ask the rules of the policies that accept a caller, in order."""
        accepted = callers.accepted(policies)
        furthest: Rule | None = None
        reached, reached_by = Stage.TO, callers.facts
        for policy, facts in accepted:
            for rule in policy.rules:
                stage = rule.judge(facts)
                if stage is Stage.MATCHED:
                    removed = {name for selected in policies for name in selected.remove_headers}
                    return self._allow(policy, rule, accepted, facts, removed)
                if furthest is None or stage > reached:
                    furthest, reached, reached_by = rule, stage, facts
        refusal = None if furthest is None or reached is Stage.TO else furthest.refusal(reached, reached_by)
        strangers = callers.strangers(policies)
        if strangers:
            return _without_credentials(strangers, refusal, callers.facts) or _nothing_for_it(policies)
        if refusal is not None:
            return refusal
        return _nothing_for_it([policy for policy, _ in accepted]) if accepted else _not_accepted(policies)

    def _allow(
        self, policy: Policy, rule: Rule, accepted: list[tuple[Policy, Facts]], facts: Facts, removed: set[str]
    ) -> Allow:
        """An allow in which each owned header is either set or removed (I5).

        Where the callers of two policies differ, the word of the caller who is allowed counts, and be it that a header
        has no value.
        """
        values: dict[str, str | None] = dict.fromkeys(self.owned_headers)
        told: set[str] = set()
        for source, seen in sorted(accepted, key=lambda pair: pair[1] is not facts) if len(accepted) > 1 else accepted:
            for header in source.headers:
                if header.name not in told:
                    told.add(header.name)
                    values[header.name] = header.value(seen)
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


def _without_credentials(policies: Sequence[Policy], refusal: Deny | None, facts: Facts) -> Deny | None:
    """Why a caller is denied who showed these policies no credentials: 401 if some could have helped.

    ``refusal`` is that of the rule that the request got furthest along; None is returned if no rule is about it.
    """
    best: Rule | None = None
    best_stage = Stage.TO
    for policy in policies:
        for rule in policy.rules:
            stage = rule.reach(facts)
            if stage >= Stage.ROLE and rule.wants_credentials:
                return Deny(Reason.NO_CREDENTIALS, "a rule could allow it to a known caller", rule.policy, rule.name)
            if best is None or stage > best_stage:
                best, best_stage = rule, stage
    if refusal is not None:
        return refusal
    if best is None or best_stage is Stage.TO:
        return None
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
