"""One request's journey, told: what was found at each station, and the decision that came of it.

``Check.decide`` makes the decision here as everywhere; around it stands what the same rooms say when they are asked for
more than the outcome: the steps of the authenticator, and every policy and rule. Nothing is judged a second way, and a
property test holds what is told equal to what was decided.

What waits is not waited for: whoever explains a request whose provider has to fetch something first lets it decide once,
within a time of their own, and asks for the explanation then.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from extauthz.check.journey import Check, Unsettled
from extauthz.identity import IdentitySeen, Step
from extauthz.model import AttributeContext, Decision, Deny, Identity, Request
from extauthz.policy import PolicyExplanation, Selection

__all__ = ["Explaining", "JourneyExplanation", "explain"]


@runtime_checkable
class Explaining(Protocol):
    """An authenticator that can tell its steps. ``extauthz.identity.Authenticator`` is one."""

    def explain(self, request: Request, *, providers: frozenset[str] | None = None) -> IdentitySeen:
        """What ``authenticate`` finds, having waited, and how."""
        ...


@dataclass(frozen=True, slots=True)
class JourneyExplanation:
    """A decision with everything that it was made of."""

    sent: AttributeContext
    request: Request | Deny
    """The canonical request, or why there is none."""
    steps: tuple[Step, ...]
    """Who asks; empty if nobody looked."""
    selection: Selection | None
    """The policies that cover the request; None if there is no canonical one."""
    policy: PolicyExplanation | None
    """Every policy and rule; None if no policy was asked, as the request or its credentials were refused before."""
    decision: Decision


def explain(check: Check, sent: AttributeContext) -> JourneyExplanation:
    """The decision on what the proxy sent, explained.

    Raises:
        RuntimeError: A rate is counted by a store that would have to be waited for.
    """
    decided = check.decide(sent)
    if isinstance(decided, Unsettled):
        decided = check.settle(decided)
    if not isinstance(decided, Decision):
        message = "an explanation is asked of a limiter that answers at once"
        raise RuntimeError(message)  # noqa: TRY004 - a fault of the caller, not of a type
    request, verdict = decided.request, decided.verdict
    if request is None:
        if not isinstance(verdict, Deny):
            message = "a request without canonical form was allowed"
            raise RuntimeError(message)
        return JourneyExplanation(sent, verdict, (), None, None, decided)
    snapshot = check.snapshot
    selection = snapshot.select(request)
    steps = (*_identity_steps(check, request, selection), *_peer_steps(selection, decided))
    found = decided.found
    told = None if isinstance(found, Deny) else snapshot.explain(request, selection, found, decided.peer)
    return JourneyExplanation(sent, request, steps, selection, told, decided)


def _identity_steps(check: Check, request: Request, selection: Selection) -> tuple[Step, ...]:
    """Without a policy that covers the request, nobody asks for credentials."""
    authenticator = check.authenticator
    if not selection or not isinstance(authenticator, Explaining):
        return ()
    return authenticator.explain(request, providers=selection.providers).steps


def _peer_steps(selection: Selection, decision: Decision) -> tuple[Step, ...]:
    """Whom the connection shows, where a policy asks for that."""
    names, found, peer = selection.mesh_providers, decision.found, decision.peer
    if not names or isinstance(found, Deny):
        return ()
    asked = f"the connection shows a caller of {', '.join(sorted(names))}"
    if isinstance(peer, Identity):
        roles = ", ".join(sorted(peer.roles)) or "none"
        return (
            Step("peer", asked, holds=True, value=peer.subject),
            Step("peer", f"the roles that {peer.provider} gives it", value=roles),
        )
    if peer is None:
        return (Step("peer", asked, value="nobody"),)
    # Beside a token it does not matter who the peer is, unless a deny asks.
    return (Step("peer", asked, holds=None if found is not None else False, fault=peer.detail),)
