"""Times as people write them on a command line: how long ago or ahead, or a date."""

import re
from datetime import UTC, datetime

from extauthz.errors import ExtAuthzError

__all__ = ["seconds_of", "spoken", "time_of", "written_time"]

_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_of(option: str, written: str) -> float:
    """The seconds of 90s, 15m, 2h, 3d or 1w."""
    span = _SPAN.fullmatch(written)
    if span is None:
        raise ExtAuthzError(f"{option}: write 90s, 15m, 2h, 3d or 1w")
    return float(int(span[1]) * _SECONDS[span[2]])


def time_of(option: str, written: str, now: float) -> float:
    """The time that was so long ago, or of a date in ISO 8601 (UTC unless it says otherwise), in seconds since the epoch."""
    if _SPAN.fullmatch(written):
        return now - seconds_of(option, written)
    try:
        moment = datetime.fromisoformat(written)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ExtAuthzError(f"{option}: write 2h, 3d, or a time such as 2026-11-26T08:00:00Z") from None


def written_time(seconds: float) -> str:
    """A time as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spoken(seconds: float) -> str:
    """A span as a person says it: its largest unit, or the two largest where the first is small."""
    left = round(abs(seconds))
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for place, (name, size) in enumerate(units):
        if left >= size:
            count, rest = divmod(left, size)
            smaller = units[place + 1] if place + 1 < len(units) else None
            more = f" {rest // smaller[1]} {smaller[0]}" if smaller and count < 10 and rest >= smaller[1] else ""  # noqa: PLR2004
            return f"{count} {name}{more}"
    return "0 s"
