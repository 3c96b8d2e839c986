"""Values that are in Vault: ``vault:<path>#<field>`` anywhere in the configuration, instead of the value.

They are put into the tree of the document before it is validated, so a model never knows where its values are from. What
reads them is handed in (``SecretSource``): this room asks nobody. A key whose name ends in ``File`` or ``Files`` gets the path of a file
that holds the secret, and goes on holding it when it changes.

What is wrong with a value from Vault is told without the value.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from extauthz.config.vault import Vault
from extauthz.documents import Document, spelled
from extauthz.errors import Position, Problem, UpstreamError

__all__ = ["OpenSecrets", "PutSecrets", "SecretSource", "put_secrets", "without_secrets"]

Path = tuple[str | int, ...]

_PREFIX = "vault:"
_FORM = re.compile(r"vault:(?P<path>/?[^#?%\\\s]*)#(?P<field>[^#\s][^#]*)\Z")
_SHORTEST = 4
"""Characters of a text that a message must not have: what is shorter is no secret, and part of any sentence."""
_FORMS = "write vault:<path>#<field>, or vault:#<field> for a field of vault.secretsPath"


class SecretSource(Protocol):
    """Reads secrets. ``extauthz.vault.References`` is the real one."""

    def value(self, path: str, field: str) -> Any:
        """What a field of a secret holds; an empty path is that of this service's own secrets. Raises UpstreamError."""
        ...

    def file(self, path: str, field: str) -> str:
        """A private file that holds it, and goes on holding it. Raises UpstreamError."""
        ...


OpenSecrets = Callable[[Vault], SecretSource]
"""Opens the Vault of a configuration. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class _Reference:
    where: Path
    text: str

    @property
    def wants_file(self) -> bool:
        """Whether its key is one of a file. In a list, that is the key of the list."""
        key = next((step for step in reversed(self.where) if isinstance(step, str)), "")
        return key.endswith(("File", "Files")) or key == "file"


@dataclass(slots=True)
class PutSecrets:
    """What became of the references of a document."""

    problems: list[Problem] = field(default_factory=list)
    found: set[Path] = field(default_factory=set)
    """Where a secret is now."""
    lost: set[Path] = field(default_factory=set)
    """Where there should be one, and is a problem."""
    unread: set[Path] = field(default_factory=set)
    """Where the reference stays, since nobody asks Vault."""
    texts: set[str] = field(default_factory=set, repr=False)
    """What Vault holds for them."""


def put_secrets(document: Document, source: Callable[[], SecretSource] | None) -> PutSecrets:
    """Put the secrets into a document's tree. ``source`` is asked for only if there is a reference; None: nobody is."""
    done = PutSecrets()
    unanswered: dict[str, list[Position]] = {}
    for reference in list(_references(document.value, ())):
        place = document.where(reference.where)
        form = _FORM.match(reference.text)
        name = spelled(reference.where)
        if reference.where[0] == "vault":
            message = f"{name}: how Vault is reached can't be in Vault"
            done.problems.append(Problem(place, message, "write it here, or name a file"))
        elif form is None or any(step in (".", "..") for step in form["path"].split("/")):
            done.problems.append(Problem(place, f"{name}: {reference.text!r} is no reference to Vault", _FORMS))
        elif source is None:
            done.unread.add(reference.where)
            continue
        else:
            try:
                secrets = source()
                read = secrets.file if reference.wants_file else secrets.value
                value = read(form["path"].strip("/"), form["field"])
                _put(document.value, reference.where, value)
                done.found.add(reference.where)
                if not reference.wants_file:
                    done.texts.update(text for text in _texts(value) if len(text) >= _SHORTEST)
                continue
            except UpstreamError as error:
                unanswered.setdefault(str(error), []).append(place)
        done.lost.add(reference.where)
    for message, places in unanswered.items():
        others = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        done.problems.append(Problem(places[0], f"can't be read from Vault: {message}{others}"))
    return done


def without_secrets(problems: Sequence[Problem], document: Document, put: PutSecrets) -> list[Problem]:
    """Problems whose texts may quote what is from Vault, with other texts; elsewhere, as where two places don't fit together,
    the text goes on without the value.
    """
    places = {document.where(path): spelled(path) for path in put.found}
    return [
        Problem(problem.where, f"{places[problem.where]}: what Vault holds for it can't be used here")
        if problem.where in places
        else Problem(problem.where, _without(problem.message, put.texts), _without(problem.hint, put.texts))
        for problem in problems
    ]


def _without(told: str, texts: set[str]) -> str:
    # The longest first: one may be part of another.
    for text in sorted(texts, key=len, reverse=True):
        told = told.replace(text, "(from Vault)").replace(repr(text)[1:-1], "(from Vault)")
    return told


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from (str(name), *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _references(value: Any, path: Path) -> Iterator[_Reference]:
    if isinstance(value, str):
        if value.startswith(_PREFIX):
            yield _Reference(path, value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _references(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _references(inner, (*path, index))


def _put(tree: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value
