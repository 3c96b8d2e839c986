"""Where key files are: one file, or a folder of them, read whole and read again when anything about them changes.

In a folder every ``*.yaml`` and ``*.yml`` counts, and those of the folders in it: a Kubernetes Secret mounted for each key
is such a folder. Names that begin with a dot don't count; Kubernetes keeps its versions there (``..data``) and swaps a
symbolic link, which changes what the visible names lead to and is seen here by inode.

A set is good or it is not: one fault in one file, and none of it is taken. The alternative, to take what can be read, would
bring a revoked key back to life as soon as the file that revokes it is broken.
"""

from collections.abc import Iterable
from pathlib import Path

from extauthz.errors import ConfigError, Position, Problem
from extauthz.identity.api_key_records import ApiKeyRecord, read_records

__all__ = ["KeyFiles", "find_key_files", "read_key_files"]

_ENDINGS = (".yaml", ".yml")
_MAX_FILES = 10_000
_MAX_FILE_SIZE = 8 << 20
"""About 30,000 keys."""

_Stamp = tuple[tuple[str, int, int, int, int, int], ...]


class KeyFiles:
    """The keys at one path. All methods block on files."""

    def __init__(self, path: str, *, folder: bool) -> None:
        """Nothing is read yet."""
        self._path = path
        self._folder = folder
        self._stamp: _Stamp | None = None

    def read(self) -> tuple[ApiKeyRecord, ...]:
        """All keys.

        Raises:
            ConfigError: Something is wrong with them; it has every problem.
        """
        files = find_key_files(self._path, folder=self._folder)
        # The stamp comes first: what changes while it is read is read again at the next look. It is kept even if the
        # reading fails, so that the same fault is not read twice a second.
        self._stamp = _stamp(files)
        return read_key_files(files)

    def changed(self) -> bool:
        """Whether anything about the files differs from when they were last read.

        Raises:
            ConfigError: They can't be found.
        """
        try:
            return _stamp(find_key_files(self._path, folder=self._folder)) != self._stamp
        except ConfigError:
            self._stamp = None
            raise


def find_key_files(path: str, *, folder: bool) -> list[str]:
    """The files that count, sorted.

    Raises:
        ConfigError: The path can't be read, or is of the wrong kind.
    """
    if not folder:
        return [path]
    try:
        top = _entries(Path(path))
        found = [entry for entry in top if entry.suffix in _ENDINGS and not entry.is_dir()]
        for entry in top:
            if entry.is_dir():
                found += [inner for inner in _entries(entry) if inner.suffix in _ENDINGS and not inner.is_dir()]
    except OSError as error:
        raise ConfigError([_unreadable(path, error)]) from None
    if len(found) > _MAX_FILES:
        raise ConfigError([Problem(Position(path), f"holds more than {_MAX_FILES} key files")])
    return sorted(str(file) for file in found)


def read_key_files(files: Iterable[str]) -> tuple[ApiKeyRecord, ...]:
    """The keys of some files.

    Raises:
        ConfigError: Something is wrong with them; it has every problem.
    """
    records: list[ApiKeyRecord] = []
    problems: list[Problem] = []
    for file in files:
        text = _text(file)
        if isinstance(text, Problem):
            problems.append(text)
            continue
        found, wrong = read_records(text, file)
        records += found
        problems += wrong
    first: dict[str, ApiKeyRecord] = {}
    for record in records:
        other = first.setdefault(record.id, record)
        if other is not record:
            problems.append(Problem(record.where, f"the id {record.id} is already given at {other.where}"))
    if problems:
        raise ConfigError(problems)
    return tuple(records)


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _text(file: str) -> str | Problem:
    path = Path(file)
    try:
        if path.exists() and not path.is_file():
            # Opening a pipe would wait for its other end.
            return Problem(Position(file), "is not a regular file", "folder: takes a folder" if path.is_dir() else "")
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE_SIZE + 1)
    except OSError as error:
        return _unreadable(file, error)
    if len(content) > _MAX_FILE_SIZE:
        return Problem(Position(file), f"is larger than {_MAX_FILE_SIZE} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return Problem(Position(file, content.count(b"\n", 0, error.start) + 1), "is not UTF-8 text")


def _unreadable(path: str, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        return Problem(Position(path), "there is no such file or folder", "extauthz keys api create makes a key file")
    return Problem(Position(path), f"can't be read: {error.strerror}", "see that the server's user may read it")


def _stamp(files: Iterable[str]) -> _Stamp:
    """What tells one state of files from another, zeros for a file that can't be looked at."""
    marks = []
    for file in files:
        try:
            status = Path(file).stat()
        except OSError:
            marks.append((file, 0, 0, 0, 0, 0))
        else:
            marks.append((file, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(marks)
