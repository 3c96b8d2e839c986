"""Checks are timed while somebody reads it, and at no other time."""

import asyncio
import json
import time
from typing import Any

import pytest

from extauthz.app import observation
from extauthz.app.observation import PhaseWatch
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.telemetry import Activity, Metrics, Telemetry
from tests.journey import Journey, check_request

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: all}
spec: {rules: [{role: user}]}
"""


class Clock:
    """As it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(clock: Clock, **parts: Any) -> tuple[Journey, PhaseWatch]:
    """A journey that is told of by these parts, with what times it."""
    activity = Activity(now=time.time, clock=clock)
    telemetry = Telemetry(Metrics(), activity=activity, now=time.time, **parts)
    snapshot = load([PolicyText("policy.yaml", POLICY)], PolicySettings(), 1)
    journey = Journey(snapshot, watcher=telemetry, clock=time.monotonic, deadline=5)  # type: ignore[arg-type]
    return journey, PhaseWatch(journey.check, journey.authenticator, journey.limiter, telemetry, activity)


def timed(watch: PhaseWatch) -> int:
    """How many Checks were."""
    found: int = json.loads(watch.look())["phases"]["checks"]
    return found


async def test_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first look on, until none has come for a while; before and after it the journey asks its own parts."""
    monkeypatch.setattr(observation, "_LOOK", 0.01)
    clock = Clock()
    journey, watch = watched(clock)
    running = asyncio.create_task(watch.run())
    journey.answer(check_request())
    assert journey.check.authenticator is journey.authenticator
    assert timed(watch) == 0
    journey.answer(check_request())
    assert journey.check.authenticator is not journey.authenticator
    assert timed(watch) == 1
    await asyncio.sleep(0.05)
    assert journey.check.authenticator is not journey.authenticator
    clock.now += 100
    async with asyncio.timeout(5):
        while journey.check.authenticator is not journey.authenticator:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    journey.answer(check_request())
    assert timed(watch) == 1
    running.cancel()


def test_as_long_as_records_are_written() -> None:
    """Nobody has to look, and no longer looking ends nothing."""
    lines: list[bytes] = []

    class Lines:
        def write(self, line: bytes, *, spare: bool = False) -> None:
            lines.append(line)

        def close(self, timeout: float) -> None:
            pass

    journey, _ = watched(Clock(), sink=Lines())
    journey.answer(check_request())
    record = json.loads(lines[0])
    assert sum(record["phases_ms"].values()) == pytest.approx(record["duration_ms"], abs=0.01)
    assert record["phases_ms"]["request"] > 0
    journey, _ = watched(Clock(), sink=Lines(), omit=("phases_ms",))
    assert journey.check.authenticator is journey.authenticator
