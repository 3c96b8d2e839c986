"""One Check, bytes to bytes: the border where every fault becomes a denial.

The transport calls a ``CheckHandler`` with the bytes of a CheckRequest and gets the bytes of a CheckResponse, at once if
nothing had to be waited for, else as an awaitable. No exception leaves it: Envoy counts an RPC error as "no decision",
and a proxy that fails open would let the request through (invariants I2 and I9).

The deadline is the smaller of our own and what Envoy has left, less a margin for the way back. What is decided too late
is denied too, since the time that the rules were judged at may be long past.

Under more load than can be answered, Checks wait in the transport until little of their deadline is left. One whose turn
comes too late is not decided: it gets a denial that was as good as written before (``overloaded``), which costs a fraction
of a decision, so that nearly all of the capacity is left for those that are still in time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from extauthz.check import Check, Uncharged, Unsettled
from extauthz.model import AttributeContext, Decision, Reason, Request
from extauthz.serving.faults import describe
from extauthz.serving.transport import Call
from extauthz.wire import INTERNAL_ERROR_ANSWER, Encoder, decode

__all__ = ["CheckHandler", "Observer"]

_MARGIN: Final = 0.005
"""Seconds kept of Envoy's deadline for the answer's way back."""

_log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Sees each Check from outside: traces, metrics, the decision record. It must not raise."""

    def begin(self, metadata: Sequence[tuple[str, str | bytes]]) -> Any:
        """A Check has come in; what is returned comes back in ``finish`` or ``abandon``."""
        ...

    def finish(
        self, span: Any, decision: Decision, sent: AttributeContext | None, seconds: float, waited: float = 0.0
    ) -> None:
        """The Check was answered with this decision, which took ``seconds``, ``waited`` of them for somebody else."""
        ...

    def abandon(self, span: Any) -> None:
        """The caller went away before there was an answer."""
        ...

    def trace(self, span: Any) -> str:
        """The trace that a Check belongs to, for the log; empty if nobody knows."""
        ...


class CheckHandler:
    """Implements ``extauthz.serving.transport.Handler``."""

    def __init__(
        self,
        check: Check,
        encoder: Encoder,
        observer: Observer,
        *,
        deadline: float,
        max_in_flight: int,
        clock: Callable[[], float],
    ) -> None:
        """Keep the parts. ``deadline`` is in seconds; ``clock`` is monotonic, in seconds."""
        self._check = check
        self._encoder = encoder
        self._observer = observer
        self._deadline = deadline
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._clock = clock

    def __call__(self, message: bytes, call: Call) -> bytes | Awaitable[bytes]:
        """Answer one CheckRequest."""
        started = self._clock()
        remaining = call.time_remaining
        budget = self._deadline if remaining is None else min(self._deadline, remaining - _MARGIN)
        span = self._observer.begin(call.metadata)
        sent: AttributeContext | None = None
        if budget <= 0:
            # Whatever is decided would come too late: so it costs as little as it can, for the sake of those in time.
            decision = self._check.refuse(Reason.OVERLOADED, "no time was left when its turn came", None)
            return self._answer(decision, None, span, started, budget)
        try:
            sent = decode(message)
            decided = self._check.decide(sent)
        except Exception as error:  # noqa: BLE001 - the border: whatever it is, the answer is a denial
            decided = self._fault(error, sent, span)
        if isinstance(decided, Decision):
            return self._answer(decided, sent, span, started, budget)
        if self._in_flight >= self._max_in_flight:
            decision = self._check.refuse(Reason.OVERLOADED, "too many checks are waiting", sent, decided.request)
            return self._answer(decision, sent, span, started, budget)
        self._in_flight += 1
        return self._settle(decided, sent, span, started, budget)

    async def _settle(
        self, unsettled: Unsettled | Uncharged, sent: AttributeContext | None, span: Any, started: float, budget: float
    ) -> bytes:
        """Finish a Check that has to wait for something."""
        asked = self._clock()
        try:
            try:
                async with asyncio.timeout(max(budget - (self._clock() - started), 0)):
                    decided = await unsettled.settle()
            finally:
                self._in_flight -= 1
        except TimeoutError:
            decided = self._late(sent, unsettled.request)
        except asyncio.CancelledError:
            self._observer.abandon(span)
            raise
        except Exception as error:  # noqa: BLE001 - the border: whatever it is, the answer is a denial
            decided = self._fault(error, sent, span)
        return self._answer(decided, sent, span, started, budget, waited=self._clock() - asked)

    def _answer(
        self,
        decision: Decision,
        sent: AttributeContext | None,
        span: Any,
        started: float,
        budget: float,
        *,
        waited: float = 0.0,
    ) -> bytes:
        """Turn a decision into bytes, unless it comes too late."""
        if self._clock() - started > budget and decision.verdict.reason is Reason.ALLOWED:
            decision = self._late(sent, decision.request)
        try:
            answer = self._encoder.encode(decision)
        except Exception as error:  # noqa: BLE001 - as above
            decision = self._fault(error, sent, span)
            answer = self._encode_fault(decision)
        self._observer.finish(span, decision, sent, self._clock() - started, waited)
        return answer

    def _late(self, sent: AttributeContext | None, request: Request | None) -> Decision:
        return self._check.refuse(Reason.DEADLINE_EXCEEDED, "the deadline passed before the decision", sent, request)

    def _fault(self, error: Exception, sent: AttributeContext | None, span: Any) -> Decision:
        """The denial for an exception that nobody expected. Its text may hold parts of the request: it is not logged."""
        decision = self._check.refuse(Reason.INTERNAL_ERROR, "an unexpected fault; the log has it", sent)
        trace = self._observer.trace(span)
        known = {"decision_id": decision.id, "trace_id": trace} if trace else {"decision_id": decision.id}
        _log.error("check failed, request denied", **known, fault=describe(error))
        return decision

    def _encode_fault(self, decision: Decision) -> bytes:
        try:
            return self._encoder.encode(decision)
        except Exception:  # noqa: BLE001 - as above
            return INTERNAL_ERROR_ANSWER
