"""The key file: which API keys there are, whose they are and what they may do.

::

    keys:
    - id: eak_7Ht2kQ9xWbLm                  # the beginning of the key; no secret
      sha256: 9f86d081884c7d65...           # of the whole key, in hexadecimal
      subject: billing                      # who the caller is
      roles: [partner]
      created: 2026-11-22T10:00:00Z
      expires: 2027-02-20T10:00:00Z         # absent: never
      description: nightly export
      disabled: true                        # refused as revoked; absent: false

Only the digest is kept, and a plain one is enough: a key is 256 random bits, and no list of likely ones exists that a slow
hash would have to defend. So there are no human-chosen API keys: those who want to choose a secret have ``basic``.

Everything wrong in a text is told at once. No message repeats a value: somebody will paste a key where its digest belongs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from extauthz.documents import Document, read_documents, spelled
from extauthz.errors import Position, Problem
from extauthz.identity.api_key_form import KEY_ID
from extauthz.identity.roles import MAX_ROLES
from extauthz.model import ANONYMOUS

__all__ = ["ApiKeyRecord", "parse_time", "read_records", "time_text"]

_FIELDS = ("id", "sha256", "subject", "roles", "created", "expires", "description", "disabled")
_REQUIRED = ("id", "sha256", "subject")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d))?", re.ASCII)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MAX_TEXT = 1024
_TIME_HINT = "such as 2027-01-31T12:00:00Z; a day without time is its first moment in UTC"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """One key, without its secret."""

    id: str
    digest: bytes = field(repr=False)
    """SHA-256 of the whole key."""
    subject: str
    roles: tuple[str, ...] = ()
    created: float | None = None
    """Seconds since the epoch, like ``expires``."""
    expires: float | None = None
    """None: never."""
    description: str = ""
    disabled: bool = False
    where: Position = field(default=Position(""), compare=False)
    """Where it is written."""

    @property
    def prefix(self) -> str:
        """What the key begins with, underscore included."""
        return self.id.partition("_")[0] + "_"

    def state(self, now: float) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.disabled:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


def read_records(text: str, file: str) -> tuple[list[ApiKeyRecord], list[Problem]]:
    """The keys of a text, and everything that is wrong with it."""
    documents, problems = read_documents(text, file)
    if not documents:
        return [], problems
    document, *others = documents
    problems += [
        Problem(other.where(), "a key file is one YAML document", "remove the --- before this") for other in others
    ]
    reader = _Reader(document)
    records = list(reader.records())
    # What YAML could not read has no value, which is no news.
    known = {problem.where for problem in problems}
    problems += [problem for problem in reader.problems if problem.where not in known]
    return records, problems


def parse_time(text: str) -> float:
    """The seconds since the epoch of an RFC 3339 time, or of the first moment of a day. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError("not a time")
    moment = datetime.fromisoformat(text.upper())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def time_text(seconds: float) -> str:
    """RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Reader:
    """Reads one document. A record with a fault is told of and left out."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document

    def records(self) -> Iterator[ApiKeyRecord]:
        tree = self._document.value
        if not isinstance(tree, Mapping):
            self._fault((), "must be a mapping", "keys: [...]")
            return
        for name in tree:
            if name != "keys":
                self._fault((name,), "unknown key", "known is: keys", key=True)
        keys = tree.get("keys")
        if not isinstance(keys, list):
            if keys is not None:
                self._fault(("keys",), "must be a list")
            return
        for index, written in enumerate(keys):
            before = len(self.problems)
            record = self._record(("keys", index), written)
            if record is not None and len(self.problems) == before:
                yield record

    def _record(self, path: Path, written: Any) -> ApiKeyRecord | None:
        if not isinstance(written, Mapping):
            self._fault(path, "must be a mapping", "with " + ", ".join(_REQUIRED))
            return None
        for name in written:
            if name not in _FIELDS:
                self._fault((*path, name), "unknown key", "known are: " + ", ".join(_FIELDS), key=True)
        for name in _REQUIRED:
            if name not in written:
                self._fault((*path, name), "is required")
        return ApiKeyRecord(
            id=self._matching(path, written, "id", KEY_ID, "the beginning of the key, as in eak_7Ht2kQ9xWbLm"),
            digest=bytes.fromhex(
                self._matching(
                    path, written, "sha256", _DIGEST, "64 hexadecimal digits in lower case; never the key itself"
                )
            ),
            subject=self._text(path, written, "subject", required=True),
            roles=self._roles((*path, "roles"), written.get("roles")),
            created=self._time((*path, "created"), written.get("created")),
            expires=self._time((*path, "expires"), written.get("expires")),
            description=self._text(path, written, "description"),
            disabled=self._flag((*path, "disabled"), written.get("disabled", False)),
            where=self._document.where(path),
        )

    def _matching(self, path: Path, written: Mapping[str, Any], name: str, form: re.Pattern[str], hint: str) -> str:
        value = written.get(name, "")
        if isinstance(value, str) and form.fullmatch(value):
            return value
        if name in written:
            self._fault((*path, name), "has not the right form", hint)
        return ""

    def _text(self, path: Path, written: Mapping[str, Any], name: str, *, required: bool = False) -> str:
        value = written.get(name, "")
        if not isinstance(value, str):
            self._fault((*path, name), "must be a string", "write it in quotes")
        elif required and name in written and not value.strip():
            self._fault((*path, name), "must not be empty")
        elif _UNSAFE.search(value) or len(value) > _MAX_TEXT:
            self._fault((*path, name), f"must not hold control characters or be longer than {_MAX_TEXT} characters")
        else:
            return value
        return ""

    def _roles(self, path: Path, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MAX_ROLES:
            self._fault(path, f"must be a list of at most {MAX_ROLES} roles")
            return ()
        for index, role in enumerate(value):
            if not isinstance(role, str) or not role.strip() or _UNSAFE.search(role) or len(role) > _MAX_TEXT:
                self._fault((*path, index), "must be the name of a role")
            elif role == ANONYMOUS:
                self._fault((*path, index), f"role {ANONYMOUS!r} can be given by nothing", "remove it")
        return tuple(role for role in value if isinstance(role, str))

    def _time(self, path: Path, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, str):
            with suppress(ValueError, OverflowError):
                return parse_time(value)
        self._fault(path, "must be a time", _TIME_HINT)
        return None

    def _flag(self, path: Path, value: Any) -> bool:
        if not isinstance(value, bool):
            self._fault(path, "must be true or false")
        return bool(value)

    def _fault(self, path: Sequence[str | int], message: str, hint: str = "", *, key: bool = False) -> None:
        name = spelled(path) or "the document"
        self.problems.append(Problem(self._document.where(path, key=key), f"{name}: {message}", hint))
