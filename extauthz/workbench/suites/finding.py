"""Where suites are: files named, or all ``*.test.yaml`` of folders."""

from collections.abc import Iterable
from pathlib import Path

from extauthz.workbench.suites.reading import ENDINGS

__all__ = ["find_suites"]


def find_suites(paths: Iterable[str]) -> list[str]:
    """The files of suites at some paths: a file as it is, of a folder every suite in it and below it, sorted by name.

    Names that begin with a dot are passed over. A path that is not there is given back, for the reader to complain about.
    """
    found: dict[str, None] = {}
    for path in paths:
        if not Path(path).is_dir():
            found[path] = None
            continue
        for file in sorted(Path(path).rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.name.endswith(ENDINGS) and not hidden and file.is_file():
                found[str(file)] = None
    return list(found)
