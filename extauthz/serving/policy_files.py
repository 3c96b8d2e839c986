"""Reading policy files: which files count, and what is wrong with those that can't be read.

A path is a file, or a folder of which every ``*.yaml`` and ``*.yml`` counts; folders in it and names that begin with a
dot do not (editors and ConfigMaps keep their own things there), nor does ``*.test.yaml``, where tests of policies are.
Whatever can't be read is a problem with a place, like
a mistake in the text: a set of which a part is missing is not the set that somebody wrote.
"""

from collections.abc import Iterable
from pathlib import Path

from extauthz.errors import Position, Problem
from extauthz.policy import PolicyText

__all__ = ["read_policy_texts"]

_ENDINGS = (".yaml", ".yml")
_TESTS = (".test.yaml", ".test.yml")


def read_policy_texts(paths: Iterable[str]) -> tuple[list[PolicyText], list[Problem]]:
    """Read all policy files at some paths, each once, those of a folder sorted by name. Blocks on files.

    Returns the texts and the problems: a path that is not there, that can't be read, or that is not UTF-8.
    """
    texts: dict[str, PolicyText] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            files = _files(path)
        except OSError as error:
            problems.append(_unreadable(path, error))
            continue
        for file in files:
            if file in texts:
                continue
            read = _read(file)
            if isinstance(read, Problem):
                problems.append(read)
            else:
                texts[file] = read
    return list(texts.values()), problems


def _files(path: str) -> list[str]:
    """The files that a path stands for."""
    if not Path(path).is_dir():
        return [path]
    found = (entry for entry in Path(path).iterdir() if entry.suffix in _ENDINGS and not entry.name.startswith("."))
    return sorted(str(entry) for entry in found if not entry.is_dir() and not entry.name.endswith(_TESTS))


def _read(path: str) -> PolicyText | Problem:
    try:
        if not Path(path).is_file() and Path(path).exists():
            # Opening a pipe would wait for its other end.
            return Problem(Position(path), "is not a regular file", "name a file or a folder")
        content = Path(path).read_bytes()
    except OSError as error:
        return _unreadable(path, error)
    try:
        return PolicyText(path, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        return Problem(Position(path, line, column), "is not UTF-8 text", "save the file as UTF-8")


def _unreadable(path: str, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        return Problem(Position(path), "there is no such file or folder", "create it, or name another one")
    return Problem(Position(path), f"can't be read: {error.strerror}", "see that the server's user may read it")
