"""Changing a key file: a key is added at its end, or marked as revoked where it stands.

The file belongs to the people who write it, with their comments and their order, so the text is edited and not written
anew from its values. An edit is tried in the few ways in which such a file may be laid out, and counts only if what is read
back is exactly the old keys with the one change; if none does, the file is left alone and the person is told.

On disk an edit is whole or did not happen: the new text goes to a file beside, which then takes the old one's place with its
rights and owner. A lock on the folder makes two commands wait for each other. A symbolic link is followed, not replaced.
"""

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from extauthz.errors import ConfigError, Position, Problem
from extauthz.identity.api_key_form import key_id_of, new_key
from extauthz.identity.api_key_records import ApiKeyRecord, read_records, time_text

__all__ = ["DEFAULT_PREFIX", "add_key", "revoke_key", "with_key", "with_revocation"]

DEFAULT_PREFIX = "eak_"

_HEADER = "# API keys of extauthz. Only digests are here; `extauthz keys api create` shows a key once.\n"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")
_NOT_PLAIN = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_EMPTY_LIST = re.compile(r"^keys:[ \t]*\[[ \t]*\]", re.MULTILINE)


def add_key(
    file: str,
    *,
    prefix: str | None,
    subject: str,
    roles: Iterable[str],
    created: float,
    expires: float | None,
    description: str,
    random_bytes: Callable[[int], bytes],
) -> str:
    """Make a key, add its digest to a file, which is made if it does not exist, and return the key.

    Without a prefix it is that of the last key in the file, else ``eak_``. Times are in seconds since the epoch;
    ``random_bytes`` must be fit for secrets.

    Raises:
        ConfigError: The file can't be read or added to; nothing has changed.
    """
    keys: list[str] = []

    def add(text: str) -> str:
        others = _records(text, file)
        key = new_key(prefix or (others[-1].prefix if others else DEFAULT_PREFIX), random_bytes)
        keys.append(key)
        key_id, digest = key_id_of(key) or "", sha256(key.encode()).digest()
        record = ApiKeyRecord(key_id, digest, subject, tuple(roles), created, expires, description)
        return with_key(text, record, file)

    _edit(file, add)
    return keys[-1]


def revoke_key(file: str, key_id: str) -> bool:
    """Disable a key in a file; False if there is none with that id.

    Raises:
        ConfigError: The file can't be read or edited; nothing has changed.
    """
    known: list[bool] = []

    def disable(text: str) -> str:
        edited = with_revocation(text, key_id, file)
        known.append(edited is not None)
        return text if edited is None else edited

    _edit(file, disable)
    return known[-1]


def with_key(text: str, record: ApiKeyRecord, file: str) -> str:
    """The text of a key file with one more key at its end.

    Raises:
        ConfigError: The text has problems, the id is taken, or the text is laid out in a way that can't be added to.
    """
    records = _records(text, file)
    if any(other.id == record.id for other in records):
        raise ConfigError([Problem(Position(file), f"the id {record.id} is already given")])
    _, problems = read_records("keys:\n" + _block(record, ""), file)
    if problems:
        # The record itself is no good: there is no place in the file to point at.
        raise ConfigError(Problem(Position(file), p.message.removeprefix("keys[0]."), p.hint) for p in problems)
    base = text if text.endswith("\n") or not text else text + "\n"
    candidates = [base + _block(record, indent) for indent in ("", "  ", "    ")]
    candidates.append((base or _HEADER) + "keys:\n" + _block(record, ""))
    candidates.append(_EMPTY_LIST.sub("keys:", base, count=1) + _block(record, ""))
    return _first_right(candidates, [*records, record], file)


def with_revocation(text: str, key_id: str, file: str) -> str | None:
    """The text of a key file in which one key is disabled; None if there is no such key.

    Raises:
        ConfigError: The text has problems, or is laid out in a way that can't be edited.
    """
    records = _records(text, file)
    found = next((record for record in records if record.id == key_id), None)
    if found is None or found.disabled:
        return None if found is None else text
    wanted = [replace(record, disabled=True) if record is found else record for record in records]
    lines = text.splitlines(keepends=True)
    start = sum(map(len, lines[: found.where.line - 1])) + found.where.column - 1
    before, after = text[:start], text[start:]
    first, _, rest = after.partition("\n")
    indent = " " * (found.where.column - 1)
    return _first_right(
        [
            before + re.sub(r"(disabled:[ \t]*)(?:false|False|FALSE)\b", r"\1true", after, count=1),
            f"{before}{first}\n{indent}disabled: true\n{rest}",
            f"{before}disabled: true\n{indent}{after}",
            f"{before}{{disabled: true, {after[1:]}",
        ],
        wanted,
        file,
    )


def _edit(path: str, change: Callable[[str], str]) -> None:
    """Change the text of a file; one that does not exist is made, readable for its owner alone."""
    try:
        target = Path(path).resolve()
        with _locked(target.parent) as folder:
            old = target.read_bytes().decode() if target.exists() else ""
            new = change(old)
            if new != old:
                _replace(target, new.encode())
                os.fsync(folder)
    except UnicodeDecodeError:
        raise ConfigError([Problem(Position(path), "is not UTF-8 text")]) from None
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it leads to itself"
        raise ConfigError([Problem(Position(path), f"can't be changed: {reason}")]) from None


def _records(text: str, file: str) -> list[ApiKeyRecord]:
    records, problems = read_records(text, file)
    if problems:
        raise ConfigError(problems)
    return records


def _first_right(candidates: Iterable[str], wanted: Sequence[ApiKeyRecord], file: str) -> str:
    """The first text that says what is wanted."""
    for text in candidates:
        records, problems = read_records(text, file)
        if not problems and records == list(wanted):
            return text
    hint = "write each key on lines of its own that begin with '- id: ...', or edit the file by hand"
    raise ConfigError(
        [Problem(Position(file), "the list of keys is laid out in a way that can't be edited here", hint)]
    )


def _block(record: ApiKeyRecord, indent: str) -> str:
    """One entry of the list."""
    fields = {
        "id": record.id,
        # In quotes: one in a few million million digests looks like a number.
        "sha256": json.dumps(record.digest.hex()),
        "subject": _scalar(record.subject),
        "roles": f"[{', '.join(map(_scalar, record.roles))}]" if record.roles else "",
        "created": "" if record.created is None else time_text(record.created),
        "expires": "" if record.expires is None else time_text(record.expires),
        "description": _scalar(record.description) if record.description else "",
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    return f"{indent}- " + f"\n{indent}  ".join(lines) + "\n"


def _scalar(text: str) -> str:
    """A string as every YAML reader takes it for one."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN
    return text if plain else json.dumps(text, ensure_ascii=False)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the lock of a folder; gives its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(target: Path, content: bytes) -> None:
    """Put a file in the place of another one, in one step."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if target.exists():
                status = target.stat()
                os.fchmod(descriptor, status.st_mode & 0o777)
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, status.st_uid, status.st_gid)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
