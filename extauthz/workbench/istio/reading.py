"""Istio's objects out of YAML documents, with all that is wrong with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from extauthz.documents import Document, read_documents, validation_problems
from extauthz.errors import Position, Problem
from extauthz.workbench.istio.form import AuthenticationForm, AuthorizationForm

__all__ = ["Found", "Objects", "read_objects"]

_AUTHORIZATION = "AuthorizationPolicy"
_AUTHENTICATION = "RequestAuthentication"

_Form = TypeVar("_Form", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Found(Generic[_Form]):
    """An object with its place."""

    form: _Form
    document: Document
    path: tuple[str | int, ...]

    def where(self, *steps: str | int) -> Position:
        """Where a part of it stands."""
        return self.document.where((*self.path, *steps))


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects of some texts."""

    authorizations: list[Found[AuthorizationForm]]
    authentications: list[Found[AuthenticationForm]]
    others: list[tuple[Position, str]]
    """Those of a kind that is not converted: where, and which kind."""
    problems: list[Problem]


def read_objects(*texts: tuple[str, str]) -> Objects:
    """Read every object of some texts, each given with the name of its file."""
    found = Objects([], [], [], [])
    for text, file in texts:
        documents, problems = read_documents(text, file)
        found.problems.extend(problems)
        for document in documents:
            for path, value in _items(document):
                _take(found, document, path, value)
    return found


def _items(document: Document) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The objects of a document: one, or those of a list as kubectl or the API server write it."""
    value = document.value
    kind = value.get("kind") if isinstance(value, dict) else None
    items = value.get("items") if isinstance(value, dict) else None
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        yield (), value
        return
    # The API server leaves out in a list of one kind what the list says itself.
    said = {} if kind == "List" else {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List")}
    for number, item in enumerate(items):
        yield ("items", number), said | item if isinstance(item, dict) else item


def _take(found: Objects, document: Document, path: tuple[str | int, ...], value: Any) -> None:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        found.problems.append(
            Problem(document.where(path), "is no Kubernetes object", "an object has kind, metadata and spec")
        )
    elif kind == _AUTHORIZATION:
        found.authorizations.extend(_read(AuthorizationForm, document, path, value, found.problems))
    elif kind == _AUTHENTICATION:
        found.authentications.extend(_read(AuthenticationForm, document, path, value, found.problems))
    else:
        found.others.append((document.where(path), kind))


def _read(
    model: type[_Form],
    document: Document,
    path: tuple[str | int, ...],
    value: Mapping[str, Any],
    problems: list[Problem],
) -> list[Found[_Form]]:
    try:
        return [Found(model.model_validate(value), document, path)]
    except ValidationError as error:
        problems += validation_problems(error, document, model, under=path)
        return []
