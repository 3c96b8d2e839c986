"""Lengths of time as people write them: ``150ms``, ``5s``, ``1m30s``, ``1h``, ``30d``.

The form is that of Go and Kubernetes, with days besides, and the units in falling order. A bare number is refused: in one tool it means
seconds, in the next milliseconds, and a deadline that is wrong by a factor of thousand denies everything or nothing.
In the code a duration is a float of seconds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from extauthz.documents import FieldError

__all__ = ["Duration", "duration_text", "parse_duration"]

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_FORM = re.compile(rf"(?:({_NUMBER})d)?(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?(?:({_NUMBER})ms)?\Z")
_UNITS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_NAMES = ("d", "h", "m", "s", "ms")


def parse_duration(text: str) -> float:
    """The seconds that a written duration stands for. Raises ValueError if the text has another form."""
    match = _FORM.match(text)
    if not match or not text:
        message = f"{text!r} is not a duration"
        raise ValueError(message)
    # Rounded so that 150ms is the float that 0.15 is, and not the sum of what four parts left over.
    return round(sum(float(number) * unit for number, unit in zip(match.groups("0"), _UNITS, strict=True)), 9)


def duration_text(seconds: float) -> str:
    """The shortest written form of a duration, to the millisecond: ``1m30s`` for 90.0."""
    left = round(seconds * 1000)
    text = ""
    for size, name in zip((86_400_000, 3_600_000, 60_000, 1000, 1), _NAMES, strict=True):
        count, left = divmod(left, size)
        text += f"{count}{name}" if count else ""
    return text or "0s"


@dataclass(frozen=True, slots=True)
class Duration:
    """Marks a float as a duration: written with units, held in seconds, and within bounds.

    ``deadline: Annotated[float, Duration(0.001, 10)] = 0.15``
    """

    least: float
    most: float

    def read(self, value: Any) -> float:
        """The seconds of what was written. Raises FieldError if it is no duration, or out of bounds."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            message = "a duration needs its unit"
            raise FieldError(message, f"write {value:g}ms, {value:g}s or {value:g}m")
        if not isinstance(value, str):
            message = "must be a duration"
            raise FieldError(message, "such as 150ms, 5s, 1m30s or 1h")
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise FieldError(str(error), "write it as 150ms, 5s, 1m30s or 1h") from None
        if not self.least <= seconds <= self.most:
            message = f"must be from {duration_text(self.least)} to {duration_text(self.most)}, and is {value}"
            raise FieldError(message)
        return seconds

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with ``read``, write with ``duration_text``."""
        reader: Callable[[Any], float] = self.read
        return core_schema.no_info_plain_validator_function(
            reader, serialization=core_schema.plain_serializer_function_ser_schema(duration_text)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """For editors it is a string of a certain form."""
        number = _NUMBER.replace("(?:", "(")
        return {"type": "string", "pattern": f"^({number}d)?({number}h)?({number}m)?({number}s)?({number}ms)?$"}
