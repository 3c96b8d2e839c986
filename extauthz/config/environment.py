"""Environment variables that override the file: ``EXTAUTHZ_CHECK__MAXMESSAGEBYTES=131072``.

A name is ``EXTAUTHZ_`` and the keys of the setting in upper case, joined by two underscores; a top-level key stands
alone (``EXTAUTHZ_PROVIDERS``). Lists and mappings are written as JSON, and replace what the file has; elements of lists
have no variables of their own. An empty variable counts as unset, as OpenTelemetry has it. Of two variables the one that
names the inner setting wins.

Kubernetes puts ``EXTAUTHZ_PORT``, ``EXTAUTHZ_SERVICE_HOST`` and the like into every container beside a Service that is
called extauthz. They are ignored: names without ``__`` are read only if they are a top-level key.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from extauthz.config.fields import EnvironmentText
from extauthz.documents import Document, read_documents
from extauthz.errors import Position, Problem

__all__ = ["PREFIX", "Override", "read_overrides", "variables"]

PREFIX = "EXTAUTHZ_"
_PARSED = (bool, int, tuple, list, dict)


class Override:
    """One setting that a variable gives: its path, its value, and the places in the variable's text."""

    __slots__ = ("document", "path", "variable")

    def __init__(self, variable: str, path: tuple[str, ...], document: Document) -> None:
        """Keep the three."""
        self.variable = variable
        self.path = path
        self.document = document


def variables(model: type[BaseModel]) -> dict[str, tuple[tuple[str, ...], bool]]:
    """The name of every variable, with the path of its setting and whether its text is parsed (or taken as it is)."""
    return {PREFIX + "__".join(path).upper(): (path, parsed) for path, parsed in _settings(model, ())}


def read_overrides(environ: Mapping[str, str], model: type[BaseModel]) -> tuple[list[Override], list[Problem]]:
    """All overrides in an environment, outer settings first, and what is wrong with their names and texts."""
    known = variables(model)
    overrides: list[Override] = []
    problems: list[Problem] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or not environ[name].strip():
            continue
        found = known.get(name)
        if found is not None:
            document, wrong = _document(name, environ[name], parsed=found[1])
            problems += wrong
            overrides += [Override(name, found[0], document)] if document else []
        elif "__" in name:
            problems.append(Problem(Position(name), "no setting has this variable", _hint(name, known)))
    overrides.sort(key=lambda override: len(override.path))
    return overrides, problems


def _hint(name: str, known: Mapping[str, object]) -> str:
    outer = name
    while "__" in outer:
        outer = outer.rpartition("__")[0]
        if outer in known and not any(other.startswith(outer + "__") for other in known):
            return f"give the whole of {outer} as JSON"
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "names are EXTAUTHZ_<SECTION>__<KEY>"


def _settings(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    for name, field in model.model_fields.items():
        key = (*path, field.alias or name)
        kinds = [kind for kind in _kinds(field.annotation) if kind is not NoneType]
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        yield key, section is not None or any(kind in _PARSED for kind in kinds)
        if section is not None:
            yield from _settings(section, key)


def _kinds(annotation: Any) -> list[Any]:
    """The types that an annotation allows, ``Annotated`` and unions taken apart."""
    origin = get_origin(annotation)
    if origin in (None, Literal, *_PARSED):
        return [origin or annotation]
    arguments = get_args(annotation)
    return [kind for argument in (arguments[:1] if origin is Annotated else arguments) for kind in _kinds(argument)]


def _document(name: str, text: str, *, parsed: bool) -> tuple[Document | None, list[Problem]]:
    if not parsed:
        return Document(EnvironmentText(text), None, name), []
    documents, problems = read_documents(text, name)
    if problems or len(documents) != 1:
        return None, problems or [Problem(Position(name), "is not JSON")]
    value = documents[0].value
    if isinstance(value, dict | list):
        documents[0].value = _marked(value)
        return documents[0], []
    return Document(EnvironmentText(value) if isinstance(value, str) else value, None, name), []


def _marked(value: Any) -> Any:
    """The value with every text marked as one of the environment."""
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return EnvironmentText(value) if isinstance(value, str) else value
