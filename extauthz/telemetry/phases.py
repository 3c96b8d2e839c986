"""Where the time of a Check goes: who is asking, what they may do, how often, and what was waited for.

Nothing is timed when nobody reads it. Where somebody does, what the journey asks is asked through this: the authenticator
and the limiter stand behind two that read the clock before and after. The other phases follow from where these two begin
and end, so that the journey itself knows nothing of being watched:

    request  | identity | policy               | limit | policy
    reading,   who is     rules and conditions,  how     writing
    targets    asking     headers                often   the answer

A Check that waits for nothing is decided without a break, so one set of marks serves all of them. One that waits takes its
marks along, and puts them back before it goes on.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from extauthz.check import Authenticator
from extauthz.limits import Limiter, Pending
from extauthz.model import Charge, Deny, Identity, Permit, Request
from extauthz.telemetry.taken import Taken, Waited

__all__ = ["Phases"]

_SETTLED: Final = (Permit, Deny)
_KNOWN: Final = (Identity, Deny)


class Phases:
    """The marks of the Check that is being decided, in seconds of a monotonic clock; 0: not yet. For one thread."""

    __slots__ = ("asked", "charged", "charging", "clock", "ended", "found", "timed", "waits")

    def __init__(self, clock: Callable[[], float]) -> None:
        """Read this monotonic ``clock``."""
        self.clock = clock
        self.begin(timed=False)

    def begin(self, *, timed: bool) -> None:
        """A Check has come in, which is ``timed`` if somebody will ask what it has ``taken``."""
        self.timed = timed
        self.asked = self.found = self.charging = self.charged = self.ended = 0.0
        self.waits: tuple[tuple[str, str, float, float], ...] = ()

    def taken(self, seconds: float) -> Taken:
        """What the Check that has ``ended`` took in each phase, of these ``seconds`` in all."""
        asked, charging = self.asked, self.charging
        if not asked:  # refused for its form, or by no policy
            return Taken((seconds, 0.0, 0.0, 0.0))
        now = self.ended
        request = max(asked - now + seconds, 0.0)
        identity = (self.found or now) - asked
        limit = (self.charged or now) - charging if charging else 0.0
        phases = (request, identity, max(seconds - request - identity - limit, 0.0), limit)
        if not self.waits:
            return Taken(phases)
        began = now - seconds
        waits = (Waited(what, provider, max(at - began, 0.0), end - at) for what, provider, at, end in self.waits)
        return Taken(phases, tuple(waits))

    def authenticator(self, inner: Authenticator) -> Authenticator:
        """The same, timed."""
        return _TimedAuthenticator(self, inner)

    def limiter(self, inner: Limiter) -> Limiter:
        """The same, timed."""
        return _TimedLimiter(self, inner)


class _Marks:
    """Those of a Check that waits, while others are decided."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases
        self._kept = phases.asked, phases.found, phases.charging, phases.charged, phases.waits

    async def wait(self, what: str, provider: str, arrival: Awaitable[Any]) -> Any:
        """Wait for something. Whatever ends it, the marks are those of this Check again."""
        phases = self._phases
        began = phases.clock()
        try:
            return await arrival
        finally:
            phases.asked, phases.found, phases.charging, phases.charged, waits = self._kept
            phases.waits = (*waits, (what, provider, began, phases.clock()))
            phases.timed = True


class _TimedAuthenticator:
    """Implements ``extauthz.check.Authenticator``."""

    def __init__(self, phases: Phases, inner: Authenticator) -> None:
        self._phases = phases
        self._authenticate = inner.authenticate
        self.peer = inner.peer

    def authenticate(self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False) -> Any:
        phases = self._phases
        # What a policy in shadow mode asks for itself is no part of who is asking.
        if phases.found or not phases.timed:
            return self._authenticate(request, providers=providers, waited=waited)
        if not phases.asked:
            phases.asked = phases.clock()
        found = self._authenticate(request, providers=providers, waited=waited)
        if found is None or isinstance(found, _KNOWN):
            phases.found = phases.clock()
            return found
        return _TimedWait(phases, found)


class _TimedWait:
    """Implements ``extauthz.check.Wait``."""

    def __init__(self, phases: Phases, inner: Any) -> None:
        self._inner = inner
        self._marks = _Marks(phases)

    def ready(self) -> Awaitable[None]:
        return self._marks.wait(self._inner.what, self._inner.provider, self._inner.ready())


class _TimedLimiter:
    """Implements ``extauthz.limits.Limiter``."""

    def __init__(self, phases: Phases, inner: Limiter) -> None:
        self._phases = phases
        self._take = inner.take

    def take(self, charge: Charge) -> Permit | Deny | Pending:
        phases = self._phases
        if not phases.timed:
            return self._take(charge)
        phases.charging = phases.clock()
        said = self._take(charge)
        if isinstance(said, _SETTLED):
            phases.charged = phases.clock()
            return said
        return _TimedPending(phases, said)


class _TimedPending:
    """Implements ``extauthz.limits.Pending``."""

    def __init__(self, phases: Phases, inner: Pending) -> None:
        self._phases = phases
        self._inner = inner
        self._marks = _Marks(phases)

    async def settle(self) -> Permit | Deny:
        said: Permit | Deny = await self._marks.wait("store", "", self._inner.settle())
        self._phases.charged = self._phases.clock()
        return said
