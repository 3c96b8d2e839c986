"""What does not fit together, first by its path in the configuration, then by its place in a file or a variable."""

from collections.abc import Iterable
from dataclasses import dataclass

from extauthz.documents import Document, spelled
from extauthz.errors import Problem

__all__ = ["Fault", "told"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Values that are right one by one and wrong together."""

    path: tuple[str | int, ...]
    """Of the value that the person should look at, in the words of the file."""
    message: str
    hint: str = ""


def told(faults: Iterable[Fault], document: Document) -> list[Problem]:
    """The faults with their places."""
    return [
        Problem(document.where(fault.path), f"{spelled(fault.path)}: {fault.message}", fault.hint) for fault in faults
    ]
