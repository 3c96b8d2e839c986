"""What the token service answers is read without trust."""

import json
from typing import Any

import pytest

from extauthz.agent import Issued, Refused, Unanswered
from extauthz.agent.answers import claimed_times, read_answer
from tests.agent.conftest import jwt

NOW = 1_790_000_000.0
GOOD: dict[str, Any] = {"access_token": "good.token.1234", "token_type": "Bearer", "expires_in": 300}


def read(value: Any, status: int = 200) -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return read_answer(status, body, NOW, name="access_token")


def test_a_token() -> None:
    """The type in any case; a refresh token if there is one."""
    assert read(GOOD) == Issued("good.token.1234", 300.0, "")
    assert read(GOOD | {"token_type": "bearer", "refresh_token": "ert_12345678"}).refresh_token == "ert_12345678"
    assert "1234" not in repr(read(GOOD | {"refresh_token": "ert_12345678"}))


def test_a_life_that_only_the_token_tells() -> None:
    """``expires_in`` may be missing (RFC 6749 section 5.1)."""
    token = jwt("x", 300)
    times = claimed_times(token)
    assert times is not None
    del (answer := dict(GOOD))["expires_in"]
    read_then = read_answer(200, json.dumps(answer | {"access_token": token}).encode(), times[0], name="access_token")
    assert isinstance(read_then, Issued)
    assert read_then.lifetime == 300


@pytest.mark.parametrize(("status", "kind"), [(429, Unanswered), (503, Unanswered), (400, Refused)])
def test_a_pause_goes_with_the_answer(status: int, kind: type[Refused | Unanswered]) -> None:
    """Whatever the service could not or would not do."""
    answer = read_answer(status, b'{"error":"slow_down"}', NOW, name="access_token", retry_after=7.0)
    assert isinstance(answer, kind)
    assert answer.retry_after == 7.0


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"<html>",
        b"\xff" * 100,
        b"[" * 10_000,
        [],
        {},
        {"access_token": ""},
        {"access_token": "short"},
        {"access_token": "with space in it"},
        {"access_token": "two\nlines.of.token"},
        {"access_token": "x" * 20_000},
        {"access_token": None},
        {"access_token": 12345678},
        {"token_type": "mac"},
        {"token_type": None},
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": "300"},
        {"expires_in": True},
        {"expires_in": 1e12},
        {"expires_in": None},
        {"refresh_token": "a\nb"},
        {"refresh_token": 5},
    ],
)
def test_garbage_is_no_token(wrong: Any) -> None:
    """Whatever else listens there must not end up in the token file."""
    told = read({**GOOD, **wrong} if wrong and isinstance(wrong, dict) else wrong)
    assert isinstance(told, Unanswered)


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (401, {"error": "invalid_client"}, True),
        (400, {"error": "invalid_grant"}, True),
        (403, {"error": "access_denied"}, True),
        (404, b"not found", False),
        (400, b"", False),
        (429, {"error": "temporarily_unavailable"}, False),
        (503, {"error": "temporarily_unavailable"}, False),
        (500, b"oops", False),
        (302, b"", False),
    ],
)
def test_refused_or_to_be_asked_again(status: int, body: Any, refused: bool) -> None:
    """Only an OAuth error is a refusal; a proxy's 404 is an outage."""
    assert isinstance(read(body, status), Refused if refused else Unanswered)


def test_no_text_of_the_answer_is_told_but_its_code() -> None:
    """It may be our own secret, come back."""
    told = read({"error": "invalid_client", "error_description": "canary"}, 401)
    assert told.fault == "the token service answered 401 invalid_client"
    assert "canary" not in read({"error": "canary secret"}, 401).fault


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "..", f"x.{'e' * 50}.y", jwt("x", 1).replace(".", "")])
def test_times_that_no_token_tells(token: str) -> None:
    """An opaque token tells none, and garbage neither."""
    assert claimed_times(token) is None
