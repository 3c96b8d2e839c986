"""One request's journey, with no step back: canonical request -> targets -> credentials -> deny -> rules -> rate.

``Check.decide`` is synchronous: a caller whose keys are here is decided without an await. Only where something is missing
that waiting can bring (the first keys of a provider, a key that was just rotated in, a counter that replicas share) does it
return an ``Unsettled`` or ``Uncharged``, which the transport awaits within the request's own deadline.

A request is judged by one snapshot of policies from beginning to end; a reload swaps ``Check.snapshot``, one reference,
and is seen by the next request. What is not known to be allowed is denied: every path through this module ends in a
``Decision`` whose verdict was made by a rule that matched, or is a ``Deny``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from extauthz.check.rates import DeniedLimit, limited
from extauthz.check.request import RequestRules, canonical_request, speaks_grpc
from extauthz.check.shadows import shadow_verdicts
from extauthz.limits import Limiter, Pending
from extauthz.model import (
    AttributeContext,
    Decision,
    Deny,
    Identity,
    Permit,
    Reason,
    Request,
    ShadowVerdict,
)
from extauthz.policy import Selection, Snapshot

__all__ = ["Authenticator", "Check", "Uncharged", "Unsettled", "Wait"]


_log = structlog.get_logger(__name__)
_FOUND: Final = (Identity, Deny)
"""What authentication ends with, besides nobody. Written out, ``Identity | Deny`` would be made anew for each request."""


class Wait(Protocol):
    """Something is missing that may arrive: await ``ready`` and ask again."""

    def ready(self) -> Awaitable[None]:
        """Return when the missing part has arrived or is not going to."""
        ...


class Authenticator(Protocol):
    """Who is asking. ``extauthz.identity.Authenticator`` is the real one."""

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> "Identity | Deny | Wait | None":
        """The proven caller, a refusal, None without credentials; with ``waited`` never a ``Wait``.

        Only credentials of ``providers`` are looked for; None: those of any.
        """
        ...

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """Whom the connection proves to these mesh providers: a caller, why it is none of theirs, None for nobody."""
        ...


class Check:
    """Decides requests. One per process; ``snapshot`` may be replaced at any time."""

    def __init__(
        self,
        authenticator: Authenticator,
        snapshot: Snapshot,
        rules: RequestRules,
        *,
        limiter: Limiter,
        denied: DeniedLimit | None = None,
        new_id: Callable[[], str],
    ) -> None:
        """Keep what judges.

        ``limiter`` counts what rules with a rate allow, ``denied`` what is denied by address (None: nobody does);
        ``new_id`` gives each decision an identifier that is unique among replicas.
        """
        self.snapshot = snapshot
        self._authenticator = authenticator
        self._rules = rules
        self._limiter = limiter
        self._denied = denied
        self._new_id = new_id
        self._shadow_fault: int | None = None

    @property
    def authenticator(self) -> Authenticator:
        """Who says who asks."""
        return self._authenticator

    def ask(self, authenticator: Authenticator, limiter: Limiter) -> None:
        """Ask these from now on: those of before, with somebody in front who watches."""
        self._authenticator = authenticator
        self._limiter = limiter

    def decide(self, sent: AttributeContext) -> "Decision | Unsettled | Uncharged":
        """Judge what the proxy sent, as far as that needs no waiting."""
        snapshot = self.snapshot
        request = canonical_request(sent, self._rules, snapshot.twins)
        if isinstance(request, Deny):
            return Decision(self._new_id(), request, snapshot.generation, grpc=speaks_grpc(sent.http))
        selection = snapshot.select(request)
        if not selection:
            return self._uncovered(snapshot, request, selection)
        found = self._authenticator.authenticate(request, providers=selection.providers)
        if found is None or isinstance(found, _FOUND):
            return self._judge(snapshot, request, selection, found)
        if self._denied is not None:
            refusal = self._denied.refusal(request)
            if refusal is not None:
                return Decision(self._new_id(), refusal, snapshot.generation, request, grpc=request.grpc)
        return Unsettled(self, snapshot, request, selection, found)

    def refuse(
        self, reason: Reason, detail: str, sent: AttributeContext | None, request: Request | None = None
    ) -> Decision:
        """A denial from outside the journey: a fault, or no time left."""
        grpc = sent is not None and speaks_grpc(sent.http)
        return Decision(self._new_id(), Deny(reason, detail), self.snapshot.generation, request, grpc=grpc)

    def settle(self, unsettled: "Unsettled") -> "Decision | Uncharged":
        """Judge what had to wait, by the snapshot that it began with."""
        providers = unsettled.selection.providers
        found = self._authenticator.authenticate(unsettled.request, providers=providers, waited=True)
        if found is None or isinstance(found, _FOUND):
            return self._judge(unsettled.snapshot, unsettled.request, unsettled.selection, found)
        message = "the authenticator asked to wait twice"
        raise RuntimeError(message)

    def _uncovered(self, snapshot: Snapshot, request: Request, selection: Selection) -> Decision:
        verdict = self._counted(request, Deny(Reason.NO_POLICY, "no loaded policy has a target that matches"))
        shadows = self._shadows(snapshot, request, selection, None)
        return Decision(self._new_id(), verdict, snapshot.generation, request, grpc=request.grpc, shadows=shadows)

    def _judge(
        self, snapshot: Snapshot, request: Request, selection: Selection, found: Identity | Deny | None
    ) -> "Decision | Uncharged":
        shadows = self._shadows(snapshot, request, selection, found)
        if isinstance(found, Deny):
            verdict = self._counted(request, found)
            return Decision(
                self._new_id(), verdict, snapshot.generation, request, grpc=request.grpc, shadows=shadows, found=found
            )
        names = selection.mesh_providers
        # The peer's certificate is a credential only where a policy says so: else nobody looks at it.
        peer = self._authenticator.peer(request, names) if names else None
        judged = snapshot.decide(request, selection, found, peer)
        said = None
        if isinstance(judged, Deny):
            judged = self._counted(request, judged)
        elif judged.charge is not None:
            said = self._limiter.take(judged.charge)
        permit = said if isinstance(said, Permit) else None
        decision = Decision(
            self._new_id(),
            judged,
            snapshot.generation,
            request,
            selection.caller(judged, found, peer),
            request.grpc,
            "" if found is None else found.query_parameter,
            shadows,
            found,
            peer,
            None,
            permit,
        )
        if said is None or (permit is not None and permit.granted):
            return decision
        return limited(decision, said) if isinstance(said, (Permit, Deny)) else Uncharged(decision, said)

    def _counted(self, request: Request, denial: Deny) -> Deny:
        """A denial, unless its address has had too many."""
        return denial if self._denied is None else self._denied.judge(request, denial)

    def _shadows(
        self, snapshot: Snapshot, request: Request, selection: Selection, found: Identity | Deny | None
    ) -> tuple[ShadowVerdict, ...]:
        """What is told of policies and rules in shadow mode. Whatever becomes of that, the decision is made without it."""
        if not snapshot.has_shadows:
            return ()
        try:
            return shadow_verdicts(self._authenticator, snapshot, request, selection, found)
        except Exception:  # noqa: BLE001 - a fault in what never acts must not act
            if self._shadow_fault != snapshot.generation:  # once for a set of policies: any request may bring it about
                self._shadow_fault = snapshot.generation
                _log.error("shadow verdicts failed, the decisions stand", generation=snapshot.generation, exc_info=True)
            return ()


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A request that can't be decided before something has arrived."""

    check: Check
    snapshot: Snapshot
    request: Request
    selection: Selection
    wait: Wait

    async def settle(self) -> Decision:
        """Wait, then decide. The caller sets the deadline."""
        await self.wait.ready()
        decided = self.check.settle(self)
        return decided if isinstance(decided, Decision) else await decided.settle()


@dataclass(frozen=True, slots=True)
class Uncharged:
    """A decision to allow that is not final before a shared counter has granted its charge."""

    decision: Decision
    pending: Pending

    @property
    def request(self) -> Request | None:
        """The request that waits."""
        return self.decision.request

    async def settle(self) -> Decision:
        """Wait for the counter. The caller sets the deadline."""
        return limited(self.decision, await self.pending.settle())
