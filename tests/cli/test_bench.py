"""``extauthz bench`` on a command line: what is refused before anything is sent. With a real server: tests/bench."""

from collections.abc import Callable
from typing import Any

import pytest

Command = Callable[..., Any]
ASK = ("bench", "GET", "https://a.example.com/")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("bench",), "say which request, in one way"),
        (("bench", "GET", "https://a/", "--curl", "curl https://a/"), "say which request, in one way"),
        ((*ASK, "--requests", "0"), "--requests: a number from 1 on"),
        ((*ASK, "--connections", "0"), "--connections: a number from 1 on"),
        ((*ASK, "--at-a-time", "-1"), "--at-a-time: a number from 1 on"),
        ((*ASK, "--rate", "0"), "--rate: a number above 0"),
        ((*ASK, "--rate", "nan"), "--rate: a number above 0"),
        ((*ASK, "--address", "192.0.2.1:9000"), "192.0.2.1:9000 is not of this machine: say --remote"),
        ((*ASK, "--address", "authz.example.com:9000"), "authz.example.com:9000"),
        ((*ASK, "--address", "127.0.0.1:1", "--pid", "999999999"), "no process 999999999"),
    ],
)
def test_what_can_not_be_measured_is_told_before_anything_is_sent(
    run: Command, arguments: tuple[str, ...], told: str
) -> None:
    """Load goes to this machine unless another one is meant."""
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
