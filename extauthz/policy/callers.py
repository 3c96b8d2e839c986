"""Who asks, as each policy sees it: one request can show a token and, by its connection, a mesh identity.

The peer's certificate is there on every request of a mesh. It is a credential only for a policy that names its ``mesh``
provider; to all others it does not exist. So for one request the caller may differ from policy to policy:

- the token's identity, if the policy accepts it;
- else the peer's identity, if the policy names its provider;
- else nobody, or ``anonymous`` if the policy is optional and no credential was shown to it.

That is for rules, which allow. A ``deny`` is asked for every caller that there is: for the token's identity whether it is
accepted or not, and for the peer's where the policy names its provider. And where nobody can say who the peer is, a deny
that depends on the caller is taken to match: the header that tells it can be broken by whoever wants to be overlooked.
"""

from collections.abc import Iterable

from extauthz.model import Deny, Identity, Reason, Request
from extauthz.policy.facts import Facts
from extauthz.policy.policy import Policy

__all__ = ["Callers"]


class Callers:
    """The callers of one request, each with its facts. Lives for one decision."""

    __slots__ = ("_known", "_peer", "facts")

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
        self._peer = peer
        self._known = Facts(request, peer, needs, fold=fold) if isinstance(peer, Identity) else None

    def accepted(self, policies: Iterable[Policy]) -> list[tuple[Policy, Facts]]:
        """The policies whose rules count, each with the caller that they count for."""
        if self._peer is None:
            only = self.facts
            return [(policy, only) for policy in policies if policy.accepts(only.identity)]
        return [(policy, facts) for policy in policies if (facts := self._accepted_by(policy)) is not None]

    def _accepted_by(self, policy: Policy) -> Facts | None:
        facts, known = self.facts, self._known
        if known is not None and known.identity is not None and policy.takes_peer(facts.identity, known.identity):
            return known
        if facts.identity is None and policy.mesh:
            # A credential of the kind that it asks for was shown, of another provider: that is not to be without any.
            return None
        return facts if policy.accepts(facts.identity) else None

    def denial(self, policy: Policy) -> Deny | None:
        """The denial by the first rule of the policy's ``deny`` that matches one of its callers, or can't be evaluated."""
        if not policy.deny:
            return None
        alone = self._peer is None
        callers = (self.facts,) if alone else self._asked_by(policy)
        unknown = None if alone else self._unknown_to(policy)
        for rule in policy.deny:
            for facts in callers:
                denial = rule.denial(facts)
                if denial is not None:
                    return denial
            if unknown is not None and rule.could_deny(self.facts):
                detail = f"a rule of `deny` asks who calls, and {unknown.detail}"
                return Deny(unknown.reason, detail, policy.name, rule.name, unknown.provider)
        return None

    def _asked_by(self, policy: Policy) -> tuple[Facts, ...]:
        known = self._known
        if known is None or known.identity is None or known.identity.provider not in policy.mesh:
            return (self.facts,)
        return (known,) if self.facts.identity is None else (self.facts, known)

    def _unknown_to(self, policy: Policy) -> Deny | None:
        """Why nobody can say who the peer is. A peer that is somebody else's is known: it has none of our roles."""
        peer = self._peer
        if not policy.mesh or not isinstance(peer, Deny) or peer.reason is Reason.ISSUER_UNKNOWN:
            return None
        return peer

    def refusal(self, policies: Iterable[Policy]) -> Deny | None:
        """Why the only credential that was shown proves nothing: a bad mesh identity, where a policy asks for one.

        With a token it does not matter.
        """
        peer = self._peer
        if self.facts.identity is not None or not isinstance(peer, Deny) or not any(policy.mesh for policy in policies):
            return None
        return peer

    def strangers(self, policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
        """The policies to which no credential was shown."""
        if self.facts.identity is not None:
            return ()
        if self._peer is None:
            return policies
        return tuple(policy for policy in policies if not policy.mesh)
