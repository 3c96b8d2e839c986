"""What is going on, for ``extauthz top``: bounded, and nothing in it that a log may not hold."""

import json
from dataclasses import replace
from typing import Any

import pytest

from extauthz.model import AttributeContext, Decision, Deny, Reason
from extauthz.telemetry import activity as module
from extauthz.telemetry.activity import Activity, merged_activity
from extauthz.telemetry.taken import Taken


class Clock:
    """As it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Stands still until a test moves it."""
    return Clock()


@pytest.fixture
def activity(clock: Clock) -> Activity:
    """Empty."""
    return Activity(now=lambda: 1_700_000_000.0, clock=clock)


def told(activity: Activity) -> Any:
    """What it says."""
    return json.loads(activity.told())


def denied(allowed: Decision, policy: str = "orders", rule: str = "") -> Decision:
    """A denial of the same request."""
    return replace(allowed, verdict=Deny(Reason.NO_RULE, "no rule allows it", policy, rule))


def test_rules_are_counted(activity: Activity, allowed: Decision, sent: AttributeContext) -> None:
    """Those that decide, either way; a denial by no policy is nobody's."""
    for decision in (allowed, allowed, denied(allowed, "guard", "no-admin"), denied(allowed, "")):
        activity.decided(decision, sent, 0.001)
    rules = {(entry["policy"], entry["rule"]): entry["checks"] for entry in told(activity)["rules"]}
    assert rules == {(allowed.verdict.policy, allowed.verdict.rule): 2, ("guard", "no-admin"): 1}


def test_denials_are_kept_as_records_newest_first(
    activity: Activity, clock: Clock, allowed: Decision, sent: AttributeContext
) -> None:
    """With reason, rule and request, and no credentials."""
    for rule in ("first", "second"):
        activity.decided(denied(allowed, "orders", rule), sent, 0.001)
        clock.now += 1
    records = told(activity)["denials"]
    assert [record["rule"] for record in records] == ["second", "first"]
    assert records[0]["reason"] == "no-rule"
    assert "capture" not in records[0]


def test_a_flood_of_denials_costs_little(
    activity: Activity, clock: Clock, allowed: Decision, sent: AttributeContext
) -> None:
    """Of those that come at once one is kept; all are counted."""
    for _ in range(1_000):
        activity.decided(denied(allowed), sent, 0.001)
    assert len(told(activity)["denials"]) == 1
    assert told(activity)["rules"][0]["checks"] == 1_000
    for _ in range(200):
        clock.now += 1
        activity.decided(denied(allowed), sent, 0.001)
    assert len(told(activity)["denials"]) == 50


def test_names_do_not_pile_up(
    activity: Activity, allowed: Decision, sent: AttributeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies come and go; counting begins anew before they take much room."""
    monkeypatch.setattr(module, "_RULES", 3)
    for number in range(10):
        activity.decided(denied(allowed, f"p{number}"), sent, 0.001)
    assert len(told(activity)["rules"]) <= 3


@pytest.mark.parametrize("answer", [b"Not Found\n", b"[]", b'{"rules": 7}', b"\xff"])
def test_a_worker_that_says_nothing_useful_takes_nothing_from_the_others(
    activity: Activity, allowed: Decision, sent: AttributeContext, answer: bytes
) -> None:
    """It may be about to start, or to stop."""
    activity.decided(allowed, sent, 0.001)
    assert json.loads(merged_activity([answer, activity.told()])) == told(activity)


def test_workers_are_told_as_one(activity: Activity, clock: Clock, allowed: Decision, sent: AttributeContext) -> None:
    """Their counts add up, and the last denials of all come first."""
    other = Activity(now=lambda: 1_700_000_005.0, clock=clock)
    activity.decided(denied(allowed, "orders", "old"), sent, 0.001)
    other.decided(denied(allowed, "orders", "new"), sent, 0.001)
    other.decided(allowed, sent, 0.001)
    activity.decided(allowed, sent, 0.001)
    merged = json.loads(merged_activity([activity.told(), other.told()]))
    assert [record["rule"] for record in merged["denials"]] == ["new", "old"]
    assert {entry["rule"]: entry["checks"] for entry in merged["rules"]}[allowed.verdict.rule] == 2


def test_phases_add_up_while_somebody_looks(
    activity: Activity, clock: Clock, allowed: Decision, sent: AttributeContext
) -> None:
    """Of those Checks that were timed, also of several workers; who looked once may look again for a while."""
    watched = [activity.watched]
    activity.decided(allowed, sent, 0.001)
    activity.decided(allowed, sent, 0.001, Taken((0.1, 0.2, 0.3, 0.4)))
    expected = {"request": 0.1, "identity": 0.2, "policy": 0.3, "limit": 0.4}
    assert told(activity)["phases"] == {"checks": 1, "seconds": expected}
    watched.append(activity.watched)
    both = json.loads(merged_activity([activity.told(), activity.told()]))
    assert both["phases"] == {"checks": 2, "seconds": {name: 2 * seconds for name, seconds in expected.items()}}
    clock.now += 60
    assert [*watched, activity.watched] == [False, True, False]
