"""What the decision log and traces are told by the configuration."""

from collections.abc import Callable
from typing import Any

import pytest

Load = Callable[..., Any]
Problems = Callable[..., list[str]]


def test_by_default_nothing_waits_and_nothing_rotates(load: Load) -> None:
    """And denials are sampled as their parents are."""
    telemetry = load("").telemetry
    assert telemetry.decisions.rotate is None
    assert (telemetry.decisions.when_full, telemetry.traces.denials) == ("drop", 0.0)


def test_a_file_may_rotate_itself(load: Load) -> None:
    """With a size and a number that one can live with, unless others are named."""
    decisions = "telemetry: {decisions: {sink: ./decisions.jsonl, whenFull: wait, rotate: {ROTATE}}}"
    usual = load(decisions.replace("ROTATE", "")).telemetry.decisions
    assert (usual.rotate.max_bytes, usual.rotate.keep, usual.when_full) == (134_217_728, 8, "wait")
    named = load(decisions.replace("ROTATE", "maxBytes: 1000000, keep: 1")).telemetry.decisions
    assert (named.rotate.max_bytes, named.rotate.keep) == (1_000_000, 1)


@pytest.mark.parametrize(
    ("decisions", "told"),
    [
        ("{sink: stdout, rotate: {}}", "telemetry.decisions.rotate: sink is stdout, and only a file is rotated"),
        ("{sink: otlp, rotate: {}}", "telemetry.decisions.rotate: sink is otlp, and only a file is rotated"),
        ("{rotate: {}}", "telemetry.decisions.rotate: sink is none, and only a file is rotated"),
        ("{whenFull: wait}", "telemetry.decisions.whenFull: there is no decision log to wait for"),
        ("{sink: otlp, whenFull: block}", "telemetry.decisions.whenFull"),
        ("{sink: ./x, rotate: {maxBytes: 10}}", "telemetry.decisions.rotate.maxBytes"),
        ("{sink: ./x, rotate: {keep: 0}}", "telemetry.decisions.rotate.keep"),
    ],
)
def test_what_does_not_fit_together_is_refused(problems: Problems, decisions: str, told: str) -> None:
    """With the setting that is wrong."""
    [problem] = problems(f"telemetry: {{decisions: {decisions}}}")
    assert told in problem


@pytest.mark.parametrize("share", ["-0.1", "1.1", "always"])
def test_a_share_of_denials_is_from_0_to_1(problems: Problems, share: str) -> None:
    """As those of records are."""
    [problem] = problems(f"telemetry: {{traces: {{denials: {share}}}}}")
    assert "telemetry.traces.denials" in problem
