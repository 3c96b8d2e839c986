"""What pydantic found wrong in a document, told in the words and at the place of the person who wrote it.

The models at the edge (configuration, policies) are pydantic models with camelCase aliases and ``extra="forbid"``. A
validation error names a path; the document knows where that path stands. For an unknown key the nearest known one is
offered.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from extauthz.documents.yaml import Document
from extauthz.errors import Problem

__all__ = ["FieldError", "spelled", "validation_problems"]

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "unknown key",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


class FieldError(ValueError):
    """What a model's own validator raises: the message, and besides it how to mend the value."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep both; the message is lower case, without final period."""
        super().__init__(message)
        self.hint = hint


def validation_problems(
    error: ValidationError, document: Document, model: type[BaseModel], *, under: tuple[str | int, ...] = ()
) -> list[Problem]:
    """Every fault that pydantic found in a document, with its place; ``model`` offers the names of known keys.

    ``under`` is the path to what was validated, if it is not the whole document.
    """
    faults = error.errors(include_url=False, include_input=False)
    return [_problem(fault, document, model, under) for fault in faults]


def _problem(fault: Any, document: Document, model: type[BaseModel], under: tuple[str | int, ...]) -> Problem:
    path = _written_path((*under, *fault["loc"]), document)
    kind = fault["type"]
    name = spelled(path) or "the document"
    if kind == "extra_forbidden":
        known = _known_keys(model, path[len(under) : -1])
        close = get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else ("known are: " + ", ".join(sorted(known)) if known else "")
        return Problem(document.where(path, key=True), f"unknown key {name!r}", hint)
    if kind == "missing":
        return Problem(document.where(path[:-1]), f"{name!r} is required")
    if kind == "value_error":
        error = fault["ctx"]["error"]
        return Problem(document.where(path), f"{name}: {error}" if path else str(error), getattr(error, "hint", ""))
    return Problem(document.where(path), f"{name} {_WORDS.get(kind) or _lower(fault['msg'])}")


def _written_path(loc: Sequence[Any], document: Document) -> tuple[str | int, ...]:
    """Pydantic's ``loc`` without the names that it puts in for the branches of a union.

    A step that the document does not have is kept only as the last one: that is a missing key.
    """
    path: list[str | int] = []
    value: Any = document.value
    for index, step in enumerate(loc):
        if (isinstance(value, dict) and step in value) or (
            isinstance(value, list) and isinstance(step, int) and step < len(value)
        ):
            value = value[step]
        elif index < len(loc) - 1 or not isinstance(value, dict):
            continue
        path.append(step)
    return tuple(path)


def _known_keys(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The keys that the model at a path knows; empty if the path leads to no single model."""
    current: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int):
            continue
        fields = {field.alias or name: field for name, field in current.model_fields.items()} if current else {}
        current = _model_in(fields[step].annotation) if step in fields else None
    return [field.alias or name for name, field in current.model_fields.items()] if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside an annotation such as ``list[Rule] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def spelled(path: Iterable[str | int]) -> str:
    """Write a path of keys and indexes as a person would: ``spec.rules[0].when``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text


def _lower(message: str) -> str:
    message = message[:1].lower() + message[1:]
    return message.replace("input should be", "must be", 1)
