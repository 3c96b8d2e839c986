"""The last word on a request: an allow with a rate is final once a limiter has granted it, and denials may be counted."""

import asyncio
from dataclasses import dataclass, field

import pytest

from extauthz.check import DeniedLimit
from extauthz.model import Charge, Deny, Permit, Reason
from extauthz.wire import Encoder
from tests.journey import Always, Journey, assert_denies, caller, check_request, policies, reason_of

LIMITED = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  authentication: {optional: true}
  rules:
  - {name: read, role: user, maxRequestsPerMinute: 100, burst: 5}
"""
SHADOW = LIMITED.replace("burst: 5", "rateShadow: true")
GRANTED = Permit(granted=True, remaining=99, reset=60)
REFUSED = Permit(granted=False, remaining=0, reset=7, retry_after=3)


@dataclass
class Says:
    """A limiter that says what it was told to, at once or later, and notes what it was asked."""

    said: Permit | Deny
    later: bool = False
    seconds: float = 0
    taken: list[Charge] = field(default_factory=list)
    peeked: int = 0

    def take(self, charge: Charge) -> "Permit | Deny | Says":
        """Note the charge and answer."""
        self.taken.append(charge)
        return self if self.later else self.said

    async def settle(self) -> Permit | Deny:
        """Answer later."""
        await asyncio.sleep(self.seconds)
        return self.said


@dataclass
class Counts:
    """A limiter that grants a number of charges."""

    left: int
    taken: int = 0

    def take(self, charge: Charge) -> Permit:
        """Count."""
        permit = self.peek(charge)
        if permit.granted:
            self.left -= 1
            self.taken += 1
        return permit

    def peek(self, charge: Charge) -> Permit:
        """Look."""
        return Permit(granted=self.left > 0, remaining=self.left, reset=60, retry_after=0 if self.left else 9)


def headers(response: object) -> dict[str, str]:
    """The headers of a denial."""
    return {entry.header.key: entry.header.value for entry in response.denied_response.headers}  # type: ignore[attr-defined]


def test_a_granted_charge_allows() -> None:
    """The limiter is asked once, for the rule that allows."""
    limiter = Says(GRANTED)
    journey = Journey(policies(LIMITED), Always(caller("user")), limiter=limiter)
    assert journey.answer(check_request()).status.code == 0
    (charge,) = limiter.taken
    assert (charge.policy, charge.rule, charge.rate.per_minute, charge.rate.burst) == ("orders", "read", 100, 5)
    assert journey.watcher.finished[0].permit == GRANTED


def test_a_refused_charge_denies_with_what_a_caller_can_do() -> None:
    """429, when to come again, and what the limits are."""
    journey = Journey(policies(LIMITED), Always(caller("user")), limiter=Says(REFUSED))
    response = journey.answer(check_request())
    assert_denies(response)
    assert response.denied_response.status.code == 429
    assert reason_of(response) == "rate-limited"
    told = headers(response)
    assert told["retry-after"] == "3"
    assert told["ratelimit"] == '"read";r=0;t=7'
    assert told["ratelimit-policy"] == '"read";q=100;w=60, "read burst";q=5;w=1'
    facts = response.dynamic_metadata.fields
    assert (facts["policy"].string_value, facts["rule"].string_value) == ("orders", "read")
    assert facts["subject"].string_value == "alice"


def test_a_grpc_caller_is_told_resource_exhausted() -> None:
    """8 is the code that clients of gRPC back off for."""
    journey = Journey(policies(LIMITED), Always(caller("user")), limiter=Says(REFUSED))
    response = journey.answer(check_request(method="POST", headers={"content-type": "application/grpc"}))
    assert response.status.code == 8
    assert headers(response)["grpc-status"] == "8"
    assert headers(response)["retry-after"] == "3"


@pytest.mark.parametrize("rate_limits", [False, True])
def test_who_is_allowed_is_told_what_is_left_if_asked_for(rate_limits: bool) -> None:
    """Not by default: most services don't want to publish their limits."""
    encoder = Encoder(rate_limits=rate_limits)
    journey = Journey(policies(LIMITED), Always(caller("user")), limiter=Says(GRANTED), encoder=encoder)
    added = journey.answer(check_request()).ok_response.response_headers_to_add
    told = {entry.header.key: entry.header.value for entry in added}
    assert told.get("ratelimit") == ('"read";r=99;t=60' if rate_limits else None)


def test_a_denied_request_is_charged_to_nobody() -> None:
    """Neither one without the role nor one without credentials."""
    limiter = Says(GRANTED)
    for authenticator in (Always(caller("guest")), Always(None), Always(Deny(Reason.TOKEN_EXPIRED))):
        assert_denies(Journey(policies(LIMITED), authenticator, limiter=limiter).answer(check_request()))
    assert limiter.taken == []


def test_a_rate_in_shadow_mode_is_told_and_denies_nobody() -> None:
    """What would have been is beside the decision."""
    journey = Journey(policies(SHADOW), Always(caller("user")), limiter=Says(REFUSED))
    assert journey.answer(check_request()).status.code == 0
    (shadow,) = journey.watcher.finished[0].shadows
    assert (shadow.policy, shadow.rule, shadow.verdict.reason) == ("orders", "read", Reason.RATE_LIMITED)


def test_a_store_that_is_down_denies() -> None:
    """Unless the limiter has another answer; nothing here makes one up."""
    down = Deny(Reason.STORE_UNAVAILABLE, "redis does not answer", "orders", "read", retry_after=1)
    response = Journey(policies(LIMITED), Always(caller("user")), limiter=Says(down)).answer(check_request())
    assert_denies(response)
    assert reason_of(response) == "store-unavailable"


async def test_a_shared_counter_is_awaited() -> None:
    """And its word counts."""
    for said, code in ((GRANTED, 0), (REFUSED, 8)):
        journey = Journey(policies(LIMITED), Always(caller("user")), limiter=Says(said, later=True))
        response = await journey.answer_later(check_request())
        assert (response.status.code == 0) is (code == 0)


async def test_a_counter_that_does_not_answer_costs_the_deadline_and_opens_nothing() -> None:
    """The request ends with its own deadline (I9)."""
    limiter = Says(GRANTED, later=True, seconds=30)
    journey = Journey(policies(LIMITED), Always(caller("user")), limiter=limiter, deadline=0.02)
    response = await journey.answer_later(check_request())
    assert_denies(response)
    assert reason_of(response) == "deadline-exceeded"


def test_denied_requests_of_an_address_are_counted() -> None:
    """Guessing ends after some attempts, whatever was guessed."""
    counts = Counts(2)
    journey = Journey(policies(LIMITED), Always(Deny(Reason.CREDENTIALS_INVALID)), denied=DeniedLimit(counts, 2))
    reasons = [reason_of(journey.answer(check_request())) for _ in range(4)]
    assert reasons == ["credentials-invalid", "credentials-invalid", "rate-limited", "rate-limited"]
    assert headers(journey.answer(check_request()))["retry-after"] == "9"


def test_who_can_prove_who_he_is_is_not_locked_out() -> None:
    """An attacker who shares the address, or makes a victim's browser send nonsense, stops nobody with a token (R16)."""
    counts = Counts(0)
    journey = Journey(policies(LIMITED), Always(caller("user")), denied=DeniedLimit(counts, 1))
    assert journey.answer(check_request()).status.code == 0


def test_a_credential_that_another_server_must_judge_is_not_judged_for_an_exhausted_address() -> None:
    """Passwords and opaque tokens can be guessed; who guesses is answered before the directory is asked."""

    class Missing:
        async def ready(self) -> None:
            raise AssertionError("nobody must be asked")

    counts = Counts(0)
    journey = Journey(policies(LIMITED), Always(Missing()), denied=DeniedLimit(counts, 1))
    assert reason_of(journey.answer(check_request())) == "rate-limited"


def test_our_own_faults_are_not_counted_against_an_address() -> None:
    """A provider that is down is no reason to lock its callers out."""
    counts = Counts(1)
    journey = Journey(policies(LIMITED), Always(Deny(Reason.KEYS_UNAVAILABLE)), denied=DeniedLimit(counts, 1))
    for _ in range(3):
        assert reason_of(journey.answer(check_request())) == "keys-unavailable"
    assert counts.taken == 0


def test_a_limit_that_was_shadowed_keeps_its_verdicts_sorted() -> None:
    """With other things in shadow mode beside it."""
    tried = SHADOW.replace("orders", "tried").replace("spec:", "spec:\n  mode: Shadow")
    journey = Journey(policies(SHADOW, tried), Always(caller("user")), limiter=Says(REFUSED))
    assert journey.answer(check_request()).status.code == 0
    assert [shadow.policy for shadow in journey.watcher.finished[0].shadows] == ["orders", "tried"]


def test_a_limiter_that_grants_nothing_is_believed() -> None:
    """A permit that is not granted denies, whatever else it says."""
    said = GRANTED._replace(granted=False)
    assert_denies(Journey(policies(LIMITED), Always(caller("user")), limiter=Says(said)).answer(check_request()))
