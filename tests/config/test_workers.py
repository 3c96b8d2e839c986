"""Settings that would be wrong with several processes."""

from collections.abc import Callable
from typing import Any

import pytest

Load = Callable[..., Any]
Problems = Callable[..., list[str]]

MEANT = "limits: {perProcess: true}"


def test_workers_are_counted(load: Load) -> None:
    """One, unless more are asked for; auto is one for each core."""
    assert load("").worker_count == 1
    assert load(f"workers: 3\n{MEANT}").worker_count == 3
    assert load(f"workers: auto\n{MEANT}").worker_count >= 1
    assert load(MEANT, {"EXTAUTHZ_WORKERS": "2"}).worker_count == 2


@pytest.mark.parametrize("written", ["0", "65", "many", "-1"])
def test_a_number_that_is_none_is_refused(problems: Problems, written: str) -> None:
    """Up to 64."""
    assert all("workers" in problem for problem in problems(f"workers: {written}"))


def test_rates_that_each_worker_would_count_for_itself_are_refused(problems: Problems, load: Load) -> None:
    """Unless there is a store, or somebody says that it is meant."""
    [problem] = problems("workers: 4")
    assert "a rate would be up to 4 times what it says" in problem
    assert load('workers: 4\nstore: {url: "redis://127.0.0.1:6379"}').worker_count == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("telemetry: {decisions: {sink: stdout}}", "would tear each other's"),
        ('listen: {check: {address: "127.0.0.1:8080"}}', "is that of worker 1"),
        ('listen: {check: {address: "0.0.0.0:8079", plaintext: true}}', "is that of worker 2"),
        ('listen: {check: {address: "127.0.0.1:9000"}, http: {address: "127.0.0.1:9001"}}', "is that of worker 1"),
        ('listen: {check: {address: "127.0.0.1:65534"}}', "3 workers need as many ports from 65534 on"),
    ],
)
def test_what_workers_would_fight_over_is_refused(problems: Problems, text: str, told: str) -> None:
    """Ports and streams."""
    [problem] = problems(f"workers: 3\n{MEANT}\n{text}")
    assert told in problem
