"""Judges records again, by other policies."""

from dataclasses import dataclass, field, replace
from typing import Protocol

from extauthz.capture import CredentialPlaces
from extauthz.check import Check
from extauthz.model import AttributeContext, Decision, Deny, Identity, Request
from extauthz.workbench.engine import Engine
from extauthz.workbench.given import Given
from extauthz.workbench.replay.comparison import Comparison
from extauthz.workbench.replay.doubts import Doubts
from extauthz.workbench.replay.record import Record
from extauthz.workbench.replay.routes import route_of

__all__ = ["Peers", "Replayer"]

_CREDENTIALS = "credentials"
_PEER = "peer"


class Peers(Protocol):
    """Whom connections prove, told from their principal alone. ``extauthz.identity.Authenticator`` can."""

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """The peer, if one of these mesh providers vouches for it."""
        ...


@dataclass(slots=True)
class _Recorded:
    """Implements ``extauthz.check.Authenticator`` for one record after the other."""

    peers: Peers
    gateways: frozenset[str]
    given: Given = field(default_factory=Given)
    connected: Identity | Deny | None = None
    guessed: bool = False
    """Whom a gateway spoke for is not known."""

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> Identity | Deny | None:
        """Whom the credentials proved then."""
        return self.given.authenticate(request, providers=providers, waited=waited)

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """Whom the connection proved then; if nobody asked then, whom it proves now."""
        if self.connected is not None:
            return self.given.peer(request, names)
        if request.source.principal in self.gateways:
            self.guessed = True
            return None
        return self.peers.peer(request, names)


class Replayer:
    """One set of policies, and how records are put before it."""

    def __init__(
        self,
        engine: Engine,
        comparison: Comparison,
        *,
        peers: Peers,
        gateways: frozenset[str],
        places: CredentialPlaces,
    ) -> None:
        """Keep the parts.

        ``gateways`` are principals that speak for others in headers, which no record has; ``places`` is where providers
        look for credentials.
        """
        self._comparison = comparison
        self._snapshot = engine.snapshot
        self._hops = engine.rules.trusted_hops
        self._recorded = _Recorded(peers, gateways)
        self._check: Check = engine.check(self._recorded)
        self._doubts = Doubts(engine.snapshot)
        self._credentials = frozenset(
            {f"headers.{name}" for name in places.headers} | {f"query.{name}" for name in places.parameters}
        )
        self._browser = frozenset({"headers.cookie"} if places.cookies else ())

    def replay(self, record: Record) -> None:
        """Judge a record, and compare."""
        recorded = self._recorded
        recorded.given = Given(record.caller, record.peer)
        recorded.connected = record.peer
        recorded.guessed = False
        sent = record.sent if record.captured else _with_client(record.sent, record.client, self._hops)
        decision = self._check.decide(sent)
        if not isinstance(decision, Decision):
            message = "a recorded caller is known, and still somebody asks to wait"
            raise RuntimeError(message)  # noqa: TRY004 - a fault of ours, not of a type
        http = sent.http
        route = route_of("", "", "") if http is None else route_of(http.method, http.host, http.path)
        comparison = self._comparison
        comparison.captured += record.captured
        comparison.over_rate += record.over_rate
        self._note_overlooked(record, decision)
        comparison.add(record.old, decision, route, record.id, self._unsure(record, decision))

    def _note_overlooked(self, record: Record, decision: Decision) -> None:
        """Count a caller to whom the policies are deaf; who was found was not overlooked, and needs no second look."""
        if record.caller is None or decision.found is not None or decision.request is None:
            return
        selection = self._snapshot.select(decision.request)
        if selection and self._recorded.given.overlooked(selection.providers, frozenset()):
            self._comparison.overlooked[record.caller.provider] += 1

    def _unsure(self, record: Record, decision: Decision) -> set[str]:
        """What would have to be known for the answer to be certain."""
        request = decision.request
        if request is None:
            return set()
        selection = self._snapshot.select(request)
        caller = decision.found if isinstance(decision.found, Identity) else None
        unsure = set[str]()
        if not record.captured:
            unsure |= self._doubts.plain(request, selection, caller, decision.peer)
        if record.redacted:
            unsure |= self._doubts.hidden(request, selection, caller, decision.peer, record.redacted)
        if selection and record.caller is None and self._overlooked(record):
            unsure.add(_CREDENTIALS)
        if self._recorded.guessed:
            unsure.add(_PEER)
        return unsure

    def _overlooked(self, record: Record) -> bool:
        """Whether there may have been credentials that nobody looked at."""
        if not record.captured:
            return not record.asked
        if not self._credentials.isdisjoint(record.redacted):
            return True
        return not record.asked and not self._browser.isdisjoint(record.redacted)


def _with_client(sent: AttributeContext, client: str, hops: int) -> AttributeContext:
    """A request whose client's address is where the configuration looks for it; without hops it is that of the peer."""
    if sent.http is None or not client or hops == 0:
        return sent
    headers = {"x-forwarded-for": (", ".join([client] * hops),)}
    return replace(sent, http=replace(sent.http, headers=headers))
