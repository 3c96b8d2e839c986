"""Shadow verdicts beside decisions: what is told, and that nothing of it acts."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.model import Deny, Reason
from tests.journey import Always, Journey, caller, check_request, policies, reason_of

HEAD = "apiVersion: security.example.com/v1\nkind: AuthPolicy\nmetadata: {name: %s}\nspec: %s"
USERS = HEAD % ("users", "{rules: [{role: user}]}")
ADMINS = HEAD % ("admins", "{mode: Shadow, rules: [{role: admin}]}")
PARTNERS = HEAD % ("partners", "{mode: Shadow, authentication: {providers: [partner]}, rules: [{role: user}]}")


def told(journey: Journey) -> list[tuple[str, str, str]]:
    """The shadow verdicts of the last decision."""
    return [(shadow.policy, shadow.rule, shadow.verdict.reason.word) for shadow in journey.watcher.finished[-1].shadows]


def test_both_verdicts_are_told() -> None:
    """The one that counts in the answer, the other beside it."""
    journey = Journey(policies(USERS, ADMINS), Always(caller("user")))
    assert journey.answer(check_request()).status.code == 0
    assert told(journey) == [("admins", "", "role-missing")]


def test_shadow_policies_alone_deny_for_want_of_a_policy() -> None:
    """And tell what they would have said, of the caller whom their own providers prove."""
    journey = Journey(policies(ADMINS), Always(caller("admin")))
    assert reason_of(journey.answer(check_request())) == "no-policy"
    assert told(journey) == [("admins", "", "allowed")]


def test_credentials_that_are_refused_are_refused_by_a_shadow_policy_too() -> None:
    """It would have had no other caller."""
    journey = Journey(policies(USERS, ADMINS), Always(Deny(Reason.TOKEN_EXPIRED)))
    assert reason_of(journey.answer(check_request())) == "token-expired"
    assert told(journey) == [("admins", "", "token-expired")]


def test_a_shadow_policy_with_providers_of_its_own_asks_for_their_credentials() -> None:
    """As it would in force; the policies in force don't notice."""

    class ByProvider(Always):
        def authenticate(self, request: Any, *, providers: Any = None, waited: bool = False) -> Any:
            return caller("user", provider="partner") if providers == frozenset({"partner"}) else caller("guest")

    journey = Journey(policies(USERS, PARTNERS), ByProvider())
    assert reason_of(journey.answer(check_request())) == "role-missing"
    assert told(journey) == [("partners", "", "allowed")]


@pytest.mark.parametrize("fault", [RuntimeError("x"), ValueError("x")])
def test_a_fault_in_shadow_mode_costs_nothing(fault: Exception) -> None:
    """A decision never fails for the sake of one that does not count."""

    class Breaks(Always):
        def authenticate(self, request: Any, *, providers: Any = None, waited: bool = False) -> Any:
            if providers is not None:
                raise fault
            return caller("user")

    journey = Journey(policies(USERS, PARTNERS), Breaks())
    with capture_logs() as logs:
        assert journey.answer(check_request()).status.code == 0
        assert told(journey) == []
        assert journey.answer(check_request()).status.code == 0
    # Told, or nobody would know why there are no verdicts; once, as any request may bring it about.
    faults = [(log["log_level"], log["event"]) for log in logs if "shadow" in log["event"]]
    assert faults == [("error", "shadow verdicts failed, the decisions stand")]


def test_a_request_that_is_refused_for_its_form_has_no_shadow() -> None:
    """No policy ever sees it."""
    journey = Journey(policies(USERS, ADMINS), Always(caller("user")))
    assert reason_of(journey.answer(check_request(path="/a/../b"))) == "path-ambiguous"
    assert told(journey) == []
