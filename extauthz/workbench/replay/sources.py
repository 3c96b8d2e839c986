"""Where requests to replay come from: decision logs, plain or gzipped, and files with one CheckRequest each."""

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from extauthz.errors import ExtAuthzError

__all__ = ["Line", "check_requests", "is_check_request", "log_lines"]

STDIN = "-"
_MAX_LINE = 1024 * 1024
"""Bytes; a record has 30 kB at most."""
_GZIP = b"\x1f\x8b"
_ENDINGS = (".binpb", ".json")


class Line(NamedTuple):
    """One line of a log."""

    file: str
    number: int
    text: bytes
    """Empty if the line is too long to be a record."""


def is_check_request(path: str) -> bool:
    """Whether a path is one of a CheckRequest or of a folder of some, and not of a log."""
    if path == STDIN:
        return False
    return Path(path).is_dir() or Path(path).suffix == ".binpb" or _is_message(Path(path))


def _is_message(path: Path) -> bool:
    """Whether a file is one JSON object and no decision record: logs are called ``.json`` as well."""
    try:
        if path.suffix != ".json" or path.stat().st_size > _MAX_LINE:
            return False
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "decision" not in value


def check_requests(path: str) -> list[Path]:
    """The files with CheckRequests at a path; where one is there in both forms, the binary one.

    Raises:
        ExtAuthzError: There is none.
    """
    if not Path(path).is_dir():
        return [Path(path)]
    try:
        entries = [entry for entry in Path(path).iterdir() if not entry.name.startswith(".") and entry.is_file()]
    except OSError as error:
        raise ExtAuthzError(f"{path} can't be read: {error.strerror}") from None
    by_name: dict[str, Path] = {}
    for entry in sorted(entries):  # .binpb comes before .json
        if entry.suffix in _ENDINGS:
            by_name.setdefault(entry.stem, entry)
    if not by_name:
        message = f"{path} has no CheckRequests (*.binpb, *.json); of a folder of decision logs name the files"
        raise ExtAuthzError(message)
    return [by_name[name] for name in sorted(by_name)]


def log_lines(path: str, progress: Callable[[int], None]) -> Iterator[Line]:
    """The lines of a decision log; ``-`` is standard input. ``progress`` is told how many bytes of the file were read.

    Raises:
        ExtAuthzError: It can't be read.
    """
    name = "standard input" if path == STDIN else path
    try:
        if path == STDIN:
            yield from _lines(sys.stdin.buffer, name, progress)
        else:
            with Path(path).open("rb") as file:
                yield from _lines(file, name, progress)
    except EOFError:
        raise ExtAuthzError(f"{name} is cut off: the end of its gzip data is missing") from None
    except (OSError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no log, or damaged"
        raise ExtAuthzError(f"{name} can't be read: {why}") from None


def _lines(raw: IO[bytes], name: str, progress: Callable[[int], None]) -> Iterator[Line]:
    peek = getattr(raw, "peek", None)
    zipped = peek is not None and peek(2)[:2] == _GZIP
    stream = gzip.GzipFile(fileobj=raw) if zipped else raw
    position = raw.tell if raw.seekable() else None
    number = read = told = 0
    while line := stream.readline(_MAX_LINE):
        number += 1
        whole = line.endswith(b"\n") or len(line) < _MAX_LINE
        read += len(line)
        while line and not line.endswith(b"\n") and not whole:
            line = stream.readline(_MAX_LINE)
            read += len(line)
        if read - told > _MAX_LINE:
            progress(position() if position is not None else read)
            told = read
        text = line.strip() if whole else b""
        if text or not whole:
            yield Line(name, number, text)
