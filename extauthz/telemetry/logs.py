"""What the server says about itself: lines for people on a terminal, JSON everywhere else, one event a line.

A terminal shows the time of day by its own clock, the level, the event and its values, and of loggers only those of
libraries, so that a line fits where somebody reads it while it comes.

structlog and the standard library's logging end in the same handler, so that what uvicorn, grpc and OpenTelemetry say is
redacted like our own words, and the usual logging levels apply to all. Libraries are heard from WARNING on.

Nothing fills a disk: what one place says with each request (a fault that each of them meets) is told thirty times a
minute, and then how often it was not. The exporter of spans repeats itself for each batch that an absent collector
refuses: it is heard once a minute. At the level debug all else is told.

Every key and every string, nested ones too, passes the redaction before it reaches any handler, and objects are spelled
there, so that nothing is left for a renderer to call ``repr`` on. Tracebacks are printed without the values of local
variables.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from extauthz.telemetry.redaction import MASK, escape_controls, is_sensitive, mask
from extauthz.telemetry.repeats import Repeats

__all__ = ["configure_logs", "toggle_debug"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_LIBRARIES = ("asyncio", "grpc", "opentelemetry", "uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error")
_OURS = "extauthz"
_REPEATING = "opentelemetry."
_MOST = 30
"""Lines a minute about one event of one logger."""
_SOURCES = 1024
_FIRST = ("time", "level", "logger", "event")
_OWN = ("_record", "_from_structlog")
"""What structlog keeps in the event of a library until it is rendered."""
_STRING_LIMIT = 2048
_TRACEBACK_LIMIT = 16384
_DEPTH = 6
_ITEMS = 64


def configure_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Set up all logging of the process; may be called again to change it.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least that is told of our own doings.
        stream: Standard error if None. JSON lines, unless it is a terminal.

    Raises:
        ValueError: There is no such level.
    """
    if level.lower() not in _LEVELS:
        raise ValueError(f"there is no log level {level!r}; known are: {', '.join(_LEVELS)}")
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    last: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="time")
        if terminal
        else structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        _Redaction(escape=terminal),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *last,
            _hand_over,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    renderers: list[Processor] = [structlog.processors.JSONRenderer()]
    if terminal:
        renderers = [
            _without_own_name,
            structlog.dev.ConsoleRenderer(
                colors=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
                timestamp_key="time",
                pad_event_to=0,
                pad_level=True,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    # A record whose arguments don't fit its message would be printed raw to standard error.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=last,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    handler.addFilter(_quieten())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(_LEVELS[level.lower()])
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers.clear()
        library.propagate = True


def toggle_debug(level: str) -> None:
    """Tell everything from now on, or, if that is so already, from ``level`` on again."""
    ours = logging.getLogger(_OURS)
    told = level if ours.level == logging.DEBUG else "debug"
    ours.setLevel(logging.INFO)
    structlog.get_logger(__name__).info("log level changed", to=told)
    ours.setLevel(_LEVELS[told])


def _hand_over(logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    """Pass an event to the handlers; its exception is masked text by now, and no handler gets the original."""
    arguments, keywords = structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)
    return arguments, {**keywords, "exc_info": None}


def _without_own_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: of our own events, the name of the module says nothing to the people who run it."""
    if str(event.get("logger", "")).partition(".")[0] == _OURS:
        del event["logger"]
    return event


def _quieten() -> Any:
    """A filter that lets a source of repeated lines through so often, and lets it say how often it was not."""
    sources: dict[tuple[str, str], Repeats] = {}

    def admit(record: logging.LogRecord) -> bool:
        repeating = record.name.startswith(_REPEATING)
        if not repeating and logging.getLogger(_OURS).level <= logging.DEBUG:
            return True
        # The words of our own events are fixed, the rest is in their values; a library's may be anything.
        own = record.msg if isinstance(record.msg, dict) else None
        source = (record.name, str(own.get("event")) if own else "")
        if source not in sources:
            if len(sources) >= _SOURCES:
                sources.clear()
            sources[source] = Repeats(time.monotonic, most=1 if repeating else _MOST)
        held_back = sources[source].due()
        if held_back and own:
            record.msg = {**own, "held_back": held_back}
        return held_back is not None

    return admit


class _Redaction:
    """A structlog processor: an event of plain, short, masked values, in a fixed order."""

    def __init__(self, *, escape: bool) -> None:
        """With ``escape`` control characters are spelled out; JSON does that by itself."""
        self._escape = escape

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        names = [*(name for name in _FIRST if name in event), *(name for name in event if name not in _FIRST)]
        told = {self._text(str(name)): self._field(name, event[name]) for name in names if name not in _OWN}
        return told | {name: event[name] for name in _OWN if name in event}

    def _field(self, name: str, value: Any) -> Any:
        if name in ("exception", "stack") and isinstance(value, str):
            return self._text(value, _TRACEBACK_LIMIT, keep="\n\t")
        if name in _FIRST:
            return self._text(value if isinstance(value, str) else _spell(value))
        return self._value(name, value, _DEPTH)

    def _value(self, name: str, value: Any, depth: int) -> Any:
        if is_sensitive(name):
            return MASK
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._text(value)
        if depth and isinstance(value, Mapping):
            pairs = [(str(key), item) for key, item in list(value.items())[:_ITEMS]]
            return {self._text(key): self._value(key, item, depth - 1) for key, item in pairs}
        if depth and isinstance(value, list | tuple | set | frozenset):
            return [self._item(item, depth - 1) for item in list(value)[:_ITEMS]]
        return self._text(_spell(value))

    def _item(self, item: Any, depth: int) -> Any:
        """An element of a list; a pair whose first part is a name, as in header lists, is judged by that name."""
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):  # noqa: PLR2004 - a pair
            return [self._text(item[0]), self._value(item[0], item[1], depth)]
        return self._value("", item, depth)

    def _text(self, text: str, limit: int = _STRING_LIMIT, keep: str = "") -> str:
        # Masked before it is cut to size: half a token would no longer look like one.
        text = mask(text[: 4 * limit])
        if len(text) > limit:
            text = text[: limit - 1] + "\u2026"
        return escape_controls(text, keep=keep) if self._escape else text


def _spell(value: Any) -> str:
    """An object in words, whatever its own ``__str__`` does. Bytes are only counted: nobody knows what they are."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    try:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str(value)
    except Exception:  # noqa: BLE001 - anything may be in a log call, and nothing in it may break the caller
        return f"<{type(value).__name__}>"
