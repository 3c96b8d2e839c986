"""Who asks, as each policy sees it: one request can show a token and, by its connection, a mesh identity.

The peer's certificate is there on every request of a mesh. It is a credential only for a policy that names its ``mesh``
provider; to all others it does not exist. So for one request the caller may differ from policy to policy:

- the token's identity, if the policy accepts it;
- else the peer's identity, if the policy names its provider;
- else nobody, or ``anonymous`` if the policy is optional and no credential was shown to it.

That is for rules, which allow (``extauthz.policy.selection`` works out whose count). A ``deny`` is asked for every caller
that there is: for the token's identity whether it is accepted or not, and for the peer's where the policy names its
provider. And where nobody can say who the peer is, a deny that depends on the caller is taken to match: the header that
tells it can be broken by whoever wants to be overlooked.
"""

from extauthz.model import Deny, Identity, Reason, Request
from extauthz.policy.facts import Facts
from extauthz.policy.policy import Policy
from extauthz.policy.rule import Rule

__all__ = ["Callers"]


class Callers:
    """The callers of one request, each with its facts. Lives for one decision."""

    __slots__ = ("facts", "known", "peer")

    def __init__(
        self,
        request: Request,
        identity: Identity | None,
        peer: Identity | Deny | None,
        needs: frozenset[str],
        *,
        fold: bool,
    ) -> None:
        """Take what identity found; ``needs`` and ``fold`` are those of ``Facts``."""
        self.facts = Facts(request, identity, needs, fold=fold)
        """Of the token's identity, or of a caller without one."""
        self.peer = peer
        self.known = Facts(request, peer, needs, fold=fold) if isinstance(peer, Identity) else None
        """Of the peer's identity, if it has one."""

    def denial(self, rule: Rule, policy: Policy) -> Deny | None:
        """The denial by a rule of a policy's ``deny``, if it matches one of its callers or can't be evaluated."""
        if self.peer is None:
            return rule.denial(self.facts)
        for facts in self.asked_by(policy):
            denial = rule.denial(facts)
            if denial is not None:
                return denial
        unknown = self._unknown_to(policy)
        if unknown is not None and rule.could_deny(self.facts):
            detail = f"a rule of `deny` asks who calls, and {unknown.detail}"
            return Deny(unknown.reason, detail, policy.name, rule.name, unknown.provider)
        return None

    def asked_by(self, policy: Policy) -> tuple[Facts, ...]:
        """The callers that a policy's ``deny`` is asked for."""
        known = self.known
        if known is None or known.identity is None or known.identity.provider not in policy.mesh:
            return (self.facts,)
        return (known,) if self.facts.identity is None else (self.facts, known)

    def accepted_by(self, policy: Policy) -> Facts | None:
        """The caller whom a policy's rules count for; None if they count for none."""
        facts, known = self.facts, self.known
        if known is not None and known.identity is not None and policy.takes_peer(facts.identity, known.identity):
            return known
        if facts.identity is None and self.peer is not None and policy.mesh:
            return None
        return facts if policy.accepts(facts.identity) else None

    def refusal(self, *, mesh: bool) -> Deny | None:
        """Why the only credential that was shown proves nothing: a bad mesh identity, where a policy asks for one.

        With a token it does not matter. ``mesh``: some policy that covers the request names a mesh provider.
        """
        peer = self.peer
        return peer if mesh and self.facts.identity is None and isinstance(peer, Deny) else None

    def _unknown_to(self, policy: Policy) -> Deny | None:
        """Why nobody can say who the peer is. A peer that is somebody else's is known: it has none of our roles."""
        peer = self.peer
        if not policy.mesh or not isinstance(peer, Deny) or peer.reason is Reason.ISSUER_UNKNOWN:
            return None
        return peer
