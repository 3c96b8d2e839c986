"""One request's journey, with no step back: canonical request -> targets -> credentials -> deny -> rules -> decision.

``Check.decide`` is synchronous: a caller whose keys are here is decided without an await. Only where something is missing
that waiting can bring (the first keys of a provider, a key that was just rotated in) does it return an ``Unsettled``,
which the transport awaits within the request's own deadline.

A request is judged by one snapshot of policies from beginning to end; a reload swaps ``Check.snapshot``, one reference,
and is seen by the next request. What is not known to be allowed is denied: every path through this module ends in a
``Decision`` whose verdict was made by a rule that matched, or is a ``Deny``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from extauthz.check.request import RequestRules, canonical_request, speaks_grpc
from extauthz.model import Allow, AttributeContext, Decision, Deny, Identity, Reason, Request
from extauthz.policy import Selection, Snapshot

__all__ = ["Authenticator", "Check", "Unsettled", "Wait"]


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
        new_id: Callable[[], str],
    ) -> None:
        """Keep what judges; ``new_id`` gives each decision an identifier that is unique among replicas."""
        self.snapshot = snapshot
        self._authenticator = authenticator
        self._rules = rules
        self._new_id = new_id

    def decide(self, sent: AttributeContext) -> "Decision | Unsettled":
        """Judge what the proxy sent, as far as that needs no waiting."""
        snapshot = self.snapshot
        request = canonical_request(sent, self._rules, snapshot.twins)
        if isinstance(request, Deny):
            return Decision(self._new_id(), request, snapshot.generation, grpc=speaks_grpc(sent.http))
        selection = snapshot.select(request)
        if not selection:
            verdict = Deny(Reason.NO_POLICY, "no loaded policy has a target that matches")
            return Decision(self._new_id(), verdict, snapshot.generation, request, grpc=request.grpc)
        found = self._authenticator.authenticate(request, providers=selection.providers)
        if found is None or isinstance(found, Identity | Deny):
            return self._judge(snapshot, request, selection, found)
        return Unsettled(self, snapshot, request, selection, found)

    def refuse(
        self, reason: Reason, detail: str, sent: AttributeContext | None, request: Request | None = None
    ) -> Decision:
        """A denial from outside the journey: a fault, or no time left."""
        grpc = sent is not None and speaks_grpc(sent.http)
        return Decision(self._new_id(), Deny(reason, detail), self.snapshot.generation, request, grpc=grpc)

    def settle(self, unsettled: "Unsettled") -> Decision:
        """Judge what had to wait, by the snapshot that it began with."""
        providers = unsettled.selection.providers
        found = self._authenticator.authenticate(unsettled.request, providers=providers, waited=True)
        if found is None or isinstance(found, Identity | Deny):
            return self._judge(unsettled.snapshot, unsettled.request, unsettled.selection, found)
        message = "the authenticator asked to wait twice"
        raise RuntimeError(message)

    def _judge(
        self, snapshot: Snapshot, request: Request, selection: Selection, found: Identity | Deny | None
    ) -> Decision:
        verdict: Allow | Deny
        if isinstance(found, Deny):
            return Decision(self._new_id(), found, snapshot.generation, request, grpc=request.grpc)
        names = selection.mesh_providers
        # The peer's certificate is a credential only where a policy says so: else nobody looks at it.
        peer = self._authenticator.peer(request, names) if names else None
        verdict = snapshot.decide(request, selection, found, peer)
        caller = selection.caller(verdict, found, peer)
        spent = "" if found is None else found.query_parameter
        return Decision(self._new_id(), verdict, snapshot.generation, request, caller, request.grpc, spent)


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
        return self.check.settle(self)
