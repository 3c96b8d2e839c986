"""From the files of suites to their cases, or to everything that is wrong with them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from extauthz.documents import Document, read_documents, validation_problems
from extauthz.errors import Position, Problem
from extauthz.model import Deny, Identity, Reason, VerifiedClaims
from extauthz.workbench.sketch import read_target
from extauthz.workbench.suites.cases import Case, Expectation, Person, sketch
from extauthz.workbench.suites.form import CallerForm, CaseForm, ExpectForm, SuiteForm

__all__ = ["ENDINGS", "Suite", "Vouch", "read_suites"]

ENDINGS = (".test.yaml", ".test.yml")
"""How files of suites are called; policies are never looked for in them."""

Vouch = Callable[[str, Mapping[str, Any]], Identity | Deny]
"""Whom a provider's verified token with these claims proves.

Raises:
    ValueError: There is no such provider, or it has no tokens; the text says so.
"""

_REASONS = {reason.word: reason for reason in Reason}
_REQUEST_COLUMNS = ("method", "path", "host")


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite that could be read."""

    name: str
    file: str
    policies: tuple[str, ...]
    """Files and folders; empty for those of the configuration."""
    cases: tuple[Case, ...]


def read_suites(
    files: Iterable[str], *, group: str, providers: Sequence[str], vouch: Vouch
) -> tuple[list[Suite], list[Problem]]:
    """Read suites; ``group`` is the API group of documents, ``providers`` are the configured ones. Blocks on files."""
    suites: list[Suite] = []
    problems: list[Problem] = []
    for file in files:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            problems.append(Problem(Position(file), f"can't be read: {told}"))
            continue
        documents, faults = read_documents(text, file)
        problems += faults
        for document in documents:
            read = _suite(document, file, group, providers, vouch)
            if isinstance(read, Suite):
                suites.append(read)
            else:
                problems += read
    return suites, problems


def _suite(document: Document, file: str, group: str, providers: Sequence[str], vouch: Vouch) -> Suite | list[Problem]:
    if not isinstance(document.value, dict):
        return [Problem(document.where(), "a suite must be a mapping", "kind: PolicyTest")]
    wanted = f"{group}/v1"
    if document.value.get("apiVersion", wanted) != wanted:
        version = document.value["apiVersion"]
        return [Problem(document.where(("apiVersion",)), f"unknown apiVersion {version!r}", f"write {wanted}")]
    try:
        form = SuiteForm.model_validate(document.value)
    except ValidationError as error:
        return validation_problems(error, document, SuiteForm)
    reader = _Reader(form, document, providers, vouch)
    cases = tuple(reader.cases())
    if reader.problems:
        return reader.problems
    folder = Path(file).parent
    return Suite(form.metadata.name, file, tuple(str(folder / path) for path in form.spec.policies), cases)


class _Reader:
    """Reads the cases of one suite."""

    def __init__(self, form: SuiteForm, document: Document, providers: Sequence[str], vouch: Vouch) -> None:
        self.problems: list[Problem] = []
        self._form = form
        self._document = document
        self._providers = providers
        self._vouch = vouch
        self._known = {
            name: self._person(caller, ("spec", "callers", name)) for name, caller in form.spec.callers.items()
        }

    def cases(self) -> Iterator[Case]:
        """Every case, rows of tables included."""
        for number, case in enumerate(self._form.spec.cases):
            path: tuple[str | int, ...] = ("spec", "cases", number)
            if case.table is None:
                yield self._case(case, {}, path, case.name or f"case {number + 1}")
                continue
            for row, cells in enumerate(case.table.rows):
                named = dict(zip(case.table.columns, cells, strict=True))
                label = str(named.get("name") or f"row {row + 1}")
                name = f"{case.name or f'case {number + 1}'}: {label}"
                yield self._case(case, named, (*path, "table", "rows", row), name)

    def _case(self, form: CaseForm, cells: Mapping[str, Any], path: tuple[str | int, ...], name: str) -> Case:
        caller = cells.get("caller", form.caller)
        return Case(
            suite=self._form.metadata.name,
            name=name,
            where=self._document.where(path),
            sketch=sketch(self._form.spec.defaults, form.request, self._request_cells(cells, path)),
            caller=self._named(caller, path),
            caller_name=caller
            if isinstance(caller, str) and caller != "anonymous"
            else ""
            if caller is None
            else "the caller",
            peer=self._named(cells.get("peer", form.peer), path),
            expected=self._expected(form, cells, path),
        )

    def _request_cells(self, cells: Mapping[str, Any], path: tuple[str | int, ...]) -> dict[str, str]:
        written: dict[str, str] = {}
        short = cells.get("request")
        if isinstance(short, str):
            method, scheme, host, target = read_target(short)
            named = {"method": method, "scheme": scheme, "host": host, "path": target}
            written |= {key: text for key, text in named.items() if text}
        elif short is not None:
            self._fault(path, "a cell of the column 'request' must be a text such as GET /orders")
        for column in _REQUEST_COLUMNS:
            cell = cells.get(column)
            if isinstance(cell, str):
                written[column] = cell
            elif cell is not None:
                self._fault(path, f"a cell of the column {column!r} must be a text")
        return written

    def _expected(self, form: CaseForm, cells: Mapping[str, Any], path: tuple[str | int, ...]) -> Expectation:
        written: dict[str, Any] = (
            {} if form.expect is None else form.expect.model_dump(by_alias=True, exclude_unset=True)
        )
        short = cells.get("expect")
        if short is not None:
            written |= {"decision": short} if short in ("allow", "deny") else {"reason": short}
        written |= {
            name: cells[name]
            for name in ("decision", "reason", "policy", "rule", "status")
            if cells.get(name) is not None
        }
        try:
            return Expectation.of(ExpectForm.model_validate(written))
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                said = fault.get("ctx", {}).get("error")
                word = ".".join(map(str, fault["loc"])) or "the row"
                self._fault(path, f"{word}: {said or fault['msg']}", getattr(said, "hint", ""))
            return Expectation()

    def _named(self, caller: object, path: tuple[str | int, ...]) -> Person:
        if caller is None or caller == "anonymous":
            return None
        if isinstance(caller, str):
            if caller not in self._known:
                names = ", ".join(self._known) or "none"
                self._fault(path, f"there is no caller {caller!r}", f"spec.callers has: {names}")
            return self._known.get(caller)
        if isinstance(caller, CallerForm):
            return self._person(caller, path)
        self._fault(path, "a caller must be the name of one of spec.callers, or null")
        return None

    def _person(self, form: CallerForm, path: tuple[str | int, ...]) -> Person:
        provider = form.provider or (self._providers[0] if len(self._providers) == 1 else "")
        if provider not in self._providers:
            told = (
                f"{provider!r} is not a configured provider" if provider else "says no provider, and there are several"
            )
            self._fault((*path, "provider"), told, "configured are: " + (", ".join(self._providers) or "none"))
            return None
        if form.refused:
            return Deny(_REASONS[form.refused], provider=provider)
        if form.token is not None:
            try:
                return self._vouch(provider, form.token)
            except ValueError as error:
                self._fault((*path, "token"), str(error))
                return None
        subject = form.subject or (str(path[-1]) if path[:2] == ("spec", "callers") else "caller")
        return Identity(
            subject,
            str(form.claims.get("iss", "")),
            provider,
            frozenset(form.roles or ()),
            tuple(form.scopes),
            VerifiedClaims(form.claims),
        )

    def _fault(self, path: Sequence[str | int], message: str, hint: str = "") -> None:
        self.problems.append(Problem(self._document.where(path), message, hint))
