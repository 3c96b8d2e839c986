"""The border: whatever happens, the answer is a denial or an allow that a rule gave (I1, I2, I9)."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.model import Identity, Reason, Request
from extauthz.serving import Call
from tests.journey import ALLOW_ALL, Always, Journey, assert_denies, caller, check_request, policies, reason_of


@dataclass
class Arrival:
    """Something that is missing; whoever waits for it gets it when it is there."""

    there: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def ready(self) -> None:
        """Wait."""
        self.waiting += 1
        try:
            await self.there.wait()
        finally:
            self.waiting -= 1


@dataclass
class Missing:
    """An authenticator whose keys are missing until they arrive."""

    arrival: Arrival
    found: Any

    def authenticate(self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False) -> Any:
        """First a wait, then what was given."""
        return self.found if waited else self.arrival

    def peer(self, request: Request, names: frozenset[str]) -> None:
        """No policy of these tests asks."""


def test_an_exception_is_a_denial() -> None:
    """The fault goes to the log, the client learns nothing of it."""
    journey = Journey(policies(ALLOW_ALL), Always(RuntimeError("secret-canary")))
    with capture_logs() as logs:
        response = journey.answer(check_request())
    assert_denies(response)
    assert reason_of(response) == "internal-error"
    assert "secret-canary" not in str(response)
    assert "secret-canary" not in str(logs)
    assert "RuntimeError" in logs[0]["fault"]
    assert logs[0]["decision_id"] == journey.watcher.finished[0].id


def test_a_fault_is_told_with_its_trace() -> None:
    """From the line in the log to the trace and to the record; without a trace the line names none."""
    journey = Journey(policies(ALLOW_ALL), Always(RuntimeError("secret-canary")))
    for journey.watcher.traced in ("0af7651916cd43dd8448eb211c80319c", ""):
        with capture_logs() as logs:
            journey.answer(check_request())
        assert logs[0].get("trace_id", "") == journey.watcher.traced
        assert logs[0]["decision_id"]


def test_garbage_is_a_denial() -> None:
    """Not an RPC error, which a proxy that fails open would turn into an allow."""
    response = Journey(policies(ALLOW_ALL)).answer(b"\xff\xfe garbage")
    assert_denies(response)
    assert reason_of(response) == "request-malformed"


def test_no_message_is_a_denial() -> None:
    """Zero bytes are a CheckRequest without attributes."""
    assert_denies(Journey(policies(ALLOW_ALL)).answer(b""))


def test_an_allow_that_comes_too_late_is_a_denial() -> None:
    """What the rules were judged by may be long past."""
    ticks = iter([0.0, 10.0, 10.0])
    journey = Journey(policies(ALLOW_ALL), clock=lambda: next(ticks))
    response = journey.answer(check_request())
    assert_denies(response)
    assert reason_of(response) == "deadline-exceeded"


def test_envoys_deadline_counts_if_it_is_nearer() -> None:
    """An answer needs a moment for its way back; without that moment there is none."""
    ticks = iter([0.0, 0.1, 0.1])
    response = Journey(policies(ALLOW_ALL), clock=lambda: next(ticks)).answer(check_request(), time_remaining=0.1)
    assert reason_of(response) == "deadline-exceeded"
    assert Journey(policies(ALLOW_ALL)).answer(check_request(), time_remaining=0.1).status.code == 0


@pytest.mark.parametrize("left", [0.004, 0.0, -1.0])
def test_a_check_whose_turn_comes_too_late_is_not_decided(left: float) -> None:
    """What it would cost is left for those that are in time; the caller is told to come again."""
    authenticator = Always()
    response = Journey(policies(ALLOW_ALL), authenticator).answer(check_request(), time_remaining=left)
    assert_denies(response)
    assert reason_of(response) == "overloaded"
    assert response.denied_response.status.code == 503
    told = {option.header.key: option.header.value for option in response.denied_response.headers}
    assert told["retry-after"] == "1"
    assert authenticator.asked == []


def test_our_own_deadline_counts_where_envoy_has_none() -> None:
    """gRPC tells a call without deadline as one of centuries."""
    ticks = iter([0.0, 10.0, 10.0])
    response = Journey(policies(ALLOW_ALL), clock=lambda: next(ticks)).answer(check_request(), time_remaining=9.2e18)
    assert reason_of(response) == "deadline-exceeded"


def test_the_metadata_of_the_call_is_about_the_proxy_and_decides_nothing() -> None:
    """Its x-forwarded-for is Envoy's own address, and whatever else is there is no credential of the client."""
    authenticator = Always()
    journey = Journey(policies(ALLOW_ALL), authenticator)
    metadata = (("x-forwarded-for", "203.0.113.7"), ("authorization", "Bearer x"), ("host", "other.example.com"))
    for told in ((), metadata):
        journey.handler(check_request(), Call(told, None))
    assert authenticator.asked[0] == authenticator.asked[1]


async def test_a_check_waits_for_keys_that_are_on_their_way() -> None:
    """And is then decided as if they had been there."""
    arrival, now = Arrival(), [10.0]
    journey = Journey(policies(ALLOW_ALL), Missing(arrival, None), clock=lambda: now[0])
    answer = asyncio.ensure_future(journey.answer_later(check_request()))
    await asyncio.sleep(0)
    assert not answer.done()
    now[0] += 0.03
    arrival.there.set()
    assert (await answer).status.code == 0
    assert journey.watcher.waited == [pytest.approx(0.03)]


async def test_a_check_waits_no_longer_than_its_deadline() -> None:
    """A dependency that is down costs the request its own deadline and opens no door (I9)."""
    journey = Journey(policies(ALLOW_ALL), Missing(Arrival(), caller("user")), deadline=0.02)
    response = await journey.answer_later(check_request())
    assert_denies(response)
    assert reason_of(response) == "deadline-exceeded"
    assert journey.watcher.finished[0].request is not None


async def test_a_caller_that_goes_away_ends_the_wait() -> None:
    """Its Check is abandoned, not counted as a denial."""
    arrival = Arrival()
    journey = Journey(policies(ALLOW_ALL), Missing(arrival, None), deadline=30)
    answer = asyncio.ensure_future(journey.answer_later(check_request()))
    await asyncio.sleep(0.01)
    assert arrival.waiting == 1
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert arrival.waiting == 0
    assert (journey.watcher.finished, journey.watcher.open) == ([], 0)


async def test_more_waiting_checks_than_allowed_are_denied_at_once() -> None:
    """Nothing piles up behind a dependency that is slow; what needs no waiting is answered as before (I7, I9)."""
    arrival = Arrival()
    missing = Missing(arrival, None)
    journey = Journey(policies(ALLOW_ALL), missing, deadline=30, max_in_flight=2)
    waiting = [asyncio.ensure_future(journey.answer_later(check_request())) for _ in range(2)]
    await asyncio.sleep(0)
    response = journey.answer(check_request())
    assert_denies(response)
    assert reason_of(response) == "overloaded"
    assert reason_of(journey.answer(check_request(path="//"))) == "path-ambiguous"
    arrival.there.set()
    assert [(await answer).status.code for answer in waiting] == [0, 0]
    assert (await journey.answer_later(check_request())).status.code == 0


async def test_an_exception_after_a_wait_is_a_denial() -> None:
    """There is one border for both ways."""

    @dataclass
    class Failing(Missing):
        def authenticate(
            self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
        ) -> Any:
            if waited:
                raise RuntimeError("a fault")
            return self.arrival

    arrival = Arrival()
    arrival.there.set()
    with capture_logs():
        response = await Journey(policies(ALLOW_ALL), Failing(arrival, None)).answer_later(check_request())
    assert reason_of(response) == "internal-error"


async def test_an_authenticator_that_waits_twice_is_a_fault() -> None:
    """Nobody waits for ever."""
    arrival = Arrival()
    arrival.there.set()
    with capture_logs():
        response = await Journey(policies(ALLOW_ALL), Missing(arrival, arrival)).answer_later(check_request())
    assert reason_of(response) == "internal-error"


def test_an_answer_that_can_not_be_written_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    """An allow whose headers must not leave is not sent without them."""
    journey = Journey(policies(ALLOW_ALL))

    def refuse(decision: Any) -> bytes:
        if decision.verdict.reason is Reason.ALLOWED:
            raise ValueError("header host must not be set")
        return original(decision)

    original = journey.handler._encoder.encode
    monkeypatch.setattr(journey.handler._encoder, "encode", refuse)
    with capture_logs():
        response = journey.answer(check_request())
    assert_denies(response)
    assert [decision.verdict.reason for decision in journey.watcher.finished] == [Reason.INTERNAL_ERROR]


def test_grpc_callers_are_answered_in_their_way_whatever_fails() -> None:
    """A malformed request of a gRPC caller still gets grpc-status."""
    message = check_request(path="/a/../b", headers={"content-type": "application/grpc"})
    response = Journey(policies(ALLOW_ALL)).answer(message)
    assert "grpc-status" in {option.header.key for option in response.denied_response.headers}


def test_every_check_is_observed_once() -> None:
    """Whatever the answer is, begin is followed by one finish."""
    journey = Journey(policies(ALLOW_ALL), Always(caller("user")))
    for message in (check_request(), b"", b"garbage", check_request(path="//")):
        journey.handler(message, Call((), None))
    assert len(journey.watcher.finished) == 4
    assert journey.watcher.open == 0


def test_an_identity_reaches_the_record() -> None:
    """Who asked is known afterwards."""
    journey = Journey(policies(ALLOW_ALL), Always(caller("user")))
    journey.answer(check_request())
    identity = journey.watcher.finished[0].identity
    assert isinstance(identity, Identity)
    assert identity.subject == "alice"
