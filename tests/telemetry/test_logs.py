"""What the server says about itself."""

import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from extauthz.telemetry import configure_logs, toggle_debug

pytestmark = pytest.mark.usefixtures("preserved_logging")

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


REFUSED = f"refused {JWT}"


def fail(message: str) -> None:
    """A fault with these words."""
    raise RuntimeError(message)


def logged(tell: Callable[[Any], None], level: str = "info") -> list[dict[str, Any]]:
    """The JSON lines that a logger of ours wrote."""
    stream = io.StringIO()
    configure_logs(level, stream)
    tell(structlog.get_logger("extauthz.test"))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_when_not_a_terminal() -> None:
    """A line is one JSON object that begins with time, level, logger and event."""
    [line] = logged(lambda log: log.info("policies loaded", generation=3, files=["a.yaml"], ratio=0.5, last=None))
    assert list(line) == ["time", "level", "logger", "event", "generation", "files", "ratio", "last"]
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "extauthz.test",
        "event": "policies loaded",
        "generation": 3,
        "files": ["a.yaml"],
        "ratio": 0.5,
        "last": None,
    }


def test_readable_on_a_terminal() -> None:
    """A terminal gets one plain line, in which no control character of a value survives."""
    stream = Terminal()
    configure_logs("info", stream)
    structlog.get_logger("extauthz.test").info(
        "no \x1b[2J route", path="/a\nlevel=fatal\x1b[31m", nested={"a\r": "b\x07"}
    )
    text = stream.getvalue()
    assert text.count("\n") == 1
    for character in "\r\x07":
        assert character not in text
    assert "\x1b[2J" not in text
    assert "\\x1b[2J" in text
    assert "x0alevel=fatal" in text


def test_a_line_fits_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day, the level, what happened and its values; a library is named."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logs("info", stream)
    structlog.get_logger("extauthz.serving.server").info("listening", check="127.0.0.1:9000", admin="127.0.0.1:8081")
    logging.getLogger("grpc").warning("odd")
    ours, theirs = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[info +\] listening +admin=127.0.0.1:8081 check=127.0.0.1:9000", ours)
    assert "[grpc]" in theirs
    assert len(ours) <= 80


def test_level() -> None:
    """What is less important than the level is not told; an unknown level is an error that names the known ones."""
    assert not logged(lambda log: log.info("x"), "warning")
    assert len(logged(lambda log: log.debug("x"), "debug")) == 1
    with pytest.raises(ValueError, match="no log level 'loud'; known are: debug, info, warning, error"):
        configure_logs("loud")


def test_the_level_changes_while_it_runs() -> None:
    """To everything, and back to what was configured; the change itself is told at any level."""

    def tell(log: Any) -> None:
        for number in range(3):
            log.debug("detail", number=number)
            toggle_debug("error")

    told = [(line["event"], line.get("to", line.get("number"))) for line in logged(tell, "error")]
    assert told == [
        ("log level changed", "debug"),
        ("detail", 1),
        ("log level changed", "error"),
        ("log level changed", "debug"),
    ]


def test_libraries_are_heard_from_warning_on() -> None:
    """uvicorn, grpc and OpenTelemetry end in the same lines, with less to say."""
    stream = io.StringIO()
    configure_logs("debug", stream)
    for name in ("uvicorn.access", "grpc", "opentelemetry.sdk", "whatever"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("token %s refused", JWT)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == ["uvicorn.access", "grpc", "opentelemetry.sdk", "whatever"]
    assert {line["event"] for line in lines} == {"token [redacted] refused"}
    assert {line["level"] for line in lines} == {"warning"}


def test_other_handlers_get_masked_records() -> None:
    """A handler that somebody else put up gets our events with nothing left to hide, tracebacks included."""
    seen = io.StringIO()
    other = logging.StreamHandler(seen)
    logging.getLogger().addHandler(other)
    try:
        fail(JWT)
    except RuntimeError:
        logged(lambda log: log.exception("refused %s", JWT, cookie="canary"))
    assert "refused [redacted]" in seen.getvalue()
    assert "canary" not in seen.getvalue()
    assert "eyJ" not in seen.getvalue()


def test_record_that_can_not_be_formatted(capfd: pytest.CaptureFixture[str]) -> None:
    """A library's mistake in a log call breaks nothing, and its arguments are not printed past the redaction."""
    stream = io.StringIO()
    configure_logs("info", stream)
    # The plug-in's own handler, which is not there in production, would raise.
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if getattr(handler, "stream", None) is stream]
    logging.getLogger("whatever").warning("%d", "canary")
    assert "canary" not in stream.getvalue() + "".join(capfd.readouterr())


def test_configured_twice() -> None:
    """Another call replaces the first: no line comes twice."""
    first = io.StringIO()
    configure_logs("info", first)
    assert len(logged(lambda log: log.info("x"))) == 1
    assert first.getvalue() == ""


def test_exporters_complaints_once_a_minute() -> None:
    """An absent collector is told of once a minute and not with every batch."""
    stream = io.StringIO()
    configure_logs("info", stream)
    for n in range(20):
        logging.getLogger("opentelemetry.exporter.otlp").warning("failed %d", n)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_fault_of_each_request_does_not_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event is told thirty times a minute, then how often it was not; others are heard meanwhile."""
    now = [0.0]
    monkeypatch.setattr("extauthz.telemetry.logs.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    configure_logs("info", stream)
    log = structlog.get_logger("extauthz.test")
    for n in range(1000):
        log.error("check failed", decision_id=f"d-{n}")
    log.error("certificates not loaded")
    now[0] = 60.0
    log.error("check failed", decision_id="last")
    log.error("check failed", decision_id="really last")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        *["check failed"] * 30,
        "certificates not loaded",
        *["check failed"] * 2,
    ]
    assert [line.get("held_back") for line in lines[-3:]] == [None, 970, None]


def test_debug_tells_all() -> None:
    """Who asks for everything gets everything."""

    def tell(log: Any) -> None:
        for _ in range(100):
            log.error("x")

    assert len(logged(tell, "debug")) == 100


def test_sensitive_keys_are_masked() -> None:
    """The value under the name of a credential is never written, however deep it is and whatever its type."""
    [line] = logged(
        lambda log: log.info(
            "x",
            authorization="canary",
            clientSecret=b"canary",
            config={"vault": {"token": ["canary"]}, "list": [{"password": "canary"}]},
            headers=[("cookie", "canary"), ("host", "h")],
        )
    )
    assert "canary" not in json.dumps(line)
    assert line["config"]["vault"] == {"token": "[redacted]"}
    assert line["headers"] == [["cookie", "[redacted]"], ["host", "h"]]


def test_credentials_inside_texts_are_masked() -> None:
    """What looks like a credential is masked in events, values, keys and the words of exceptions."""

    def tell(log: Any) -> None:
        log.warning(REFUSED, url="https://u:canary@h/?access_token=canary", **{f"k {JWT}": 1})
        log.warning("fault", error=ValueError(f"bad {JWT}"), where={f"{JWT}": 1})
        try:
            fail(f"Bearer {JWT}")
        except RuntimeError:
            log.exception("check failed")

    lines = logged(tell)
    text = json.dumps(lines)
    assert "canary" not in text
    assert "eyJ" not in text
    assert lines[1]["error"] == "ValueError: bad [redacted]"
    assert "RuntimeError: Bearer [redacted]" in lines[2]["exception"]
    assert "Traceback" in lines[2]["exception"]


def test_tracebacks_hold_no_local_variables() -> None:
    """A traceback names places, not the values that were there: not on a terminal either."""

    def stop(key_material: str) -> None:
        fail("no")

    def tell(log: Any) -> None:
        try:
            stop("ca" + "nary")
        except RuntimeError:
            log.exception("check failed")

    assert "canary" not in json.dumps(logged(tell))
    stream = Terminal()
    configure_logs("info", stream)
    tell(structlog.get_logger("extauthz.test"))
    assert "RuntimeError" in stream.getvalue()
    assert "canary" not in stream.getvalue()


class Hostile:
    """An object that can't be spelled."""

    def __str__(self) -> str:
        raise RuntimeError("canary")

    __repr__ = __str__


class Chatty:
    """An object whose repr says too much."""

    def __repr__(self) -> str:
        return f"Chatty({JWT})"


def test_any_object_can_be_logged() -> None:
    """Objects are spelled with care, bytes are counted, depth and length have bounds."""
    nested: Any = "canary"
    for _ in range(50):
        nested = [nested]
    [line] = logged(
        lambda log: log.info("x", a=Hostile(), b=Chatty(), c=b"canary", d="y" * 100_000, e=list(range(1000)), f=nested)
    )
    assert line["a"] == "<Hostile>"
    assert line["b"] == "Chatty([redacted])"
    assert line["c"] == "<6 bytes>"
    assert len(line["d"]) == 2048
    assert len(line["e"]) == 64
    json.dumps(line["f"])


def test_context_is_told() -> None:
    """What was bound to the context of a task is in its lines."""
    with structlog.contextvars.bound_contextvars(decision_id="d-1"):
        [line] = logged(lambda log: log.info("x"))
    assert line["decision_id"] == "d-1"
