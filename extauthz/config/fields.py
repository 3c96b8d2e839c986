"""The kinds of value that the sections of the configuration are made of, and what a section is.

A section is a frozen pydantic model with camelCase keys that knows no key but its own and takes a string for a number
nowhere: ``"5"`` where a number belongs is an error with a place, not a guess. Sequences become tuples.

A path in a file is relative to that file, so that a configuration folder can be moved as a whole; a path in an
environment variable is relative to the working directory, as in every other program. ``FilePath`` joins the former to
the folder that the validation context names; the latter come as ``EnvironmentText`` and are left as they are. Nothing is
opened or looked up here.
"""

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

from extauthz.canonical import header_name
from extauthz.documents import FieldError, Form

__all__ = [
    "AnyList",
    "EnvironmentText",
    "FilePath",
    "HeaderName",
    "ProviderName",
    "Role",
    "Section",
    "Share",
    "SomeList",
    "Text",
    "located",
    "one_of",
    "within",
]

_T = TypeVar("_T")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PROVIDER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_MAX_TEXT = 4096


class Section(Form):
    """A mapping of the configuration."""

    model_config = ConfigDict(hide_input_in_errors=True)


class EnvironmentText(str):
    """Text that came from an environment variable: a path in it is relative to the working directory."""

    __slots__ = ()


def located(path: str, info: ValidationInfo) -> str:
    """A written path as one that can be opened from the working directory."""
    if isinstance(path, EnvironmentText) or not info.context:
        return str(path)
    folder: Path = info.context["folder"]
    return str(folder / path)


def one_of(*known: str) -> AfterValidator:
    """A check that a word is one of a few, whose message names them."""

    def check(word: str) -> str:
        if word not in known:
            message = f"{word!r} is not known here"
            raise FieldError(message, "known are: " + ", ".join(known))
        return word

    return AfterValidator(check)


def _text(text: str) -> str:
    if not text.strip():
        message = "must not be empty"
        raise FieldError(message)
    if _CONTROL.search(text) or len(text) > _MAX_TEXT:
        message = f"must not hold control characters or be longer than {_MAX_TEXT} characters"
        raise FieldError(message)
    return text


def _path(value: Any, info: ValidationInfo) -> Any:
    # Before the strict check, which would turn EnvironmentText into plain text.
    return located(value, info) if isinstance(value, str) and value.strip() else value


def _header_name(name: str) -> str:
    if not header_name(name):
        lower = name.lower()
        message = f"{name!r} is not a header name as HTTP/2 has it"
        raise FieldError(message, f"write {lower}" if header_name(lower) else "lower-case letters, digits and -")
    return name


def _provider_name(name: str) -> str:
    if not _PROVIDER.match(name):
        message = f"{name!r} can't name a provider"
        raise FieldError(message, "at most 63 letters, digits, '-', '_' and '.', the first and last no sign")
    return name


def _role(role: str) -> str:
    if role == "anonymous":
        message = "role 'anonymous' can be given by nothing: it is the role of callers without credentials"
        raise FieldError(message, "choose another name")
    return role


def within(least: int, most: int) -> AfterValidator:
    """A check that a whole number is within bounds."""

    def check(number: int) -> int:
        if not least <= number <= most:
            message = f"must be from {least} to {most}, and is {number}"
            raise FieldError(message)
        return number

    return AfterValidator(check)


def _share(number: float) -> float:
    if not 0 <= number <= 1:
        message = f"must be from 0 to 1, and is {number:g}"
        raise FieldError(message)
    return number


Share = Annotated[float, AfterValidator(_share)]
"""A share of all, from 0 for none to 1 for all."""
Text = Annotated[str, AfterValidator(_text)]
"""Text that says something: not blank, no control characters."""
FilePath = Annotated[Text, BeforeValidator(_path)]
"""A path that can be opened from the working directory."""
HeaderName = Annotated[str, AfterValidator(_header_name)]
"""A header name in lower case."""
ProviderName = Annotated[str, AfterValidator(_provider_name)]
"""What policies, metrics and logs call a provider."""
Role = Annotated[Text, AfterValidator(_role)]
"""A role of ours, never ``anonymous``."""


class _Some:
    """Marks a list that must have an entry.

    Not pydantic's ``min_length``, which reports a list as empty if its only entry is wrong.
    """

    @staticmethod
    def _check(entries: tuple[Any, ...]) -> tuple[Any, ...]:
        if not entries:
            message = "must not be empty"
            raise FieldError(message)
        return entries

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "minItems": 1}


AnyList = Annotated[tuple[_T, ...], Strict(strict=False)]
"""A list of any length."""
SomeList = Annotated[AnyList[_T], _Some()]
"""A list with at least one entry."""
