"""API keys for tests, and the files that know them."""

from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from extauthz.identity import ApiKeyProvider
from extauthz.identity.api_key_form import key_id_of, new_key

_numbers = count(1)


def fresh_key(prefix: str = "eak_") -> str:
    """A key that no other test has."""
    number = next(_numbers)
    return new_key(prefix, lambda size: number.to_bytes(4).rjust(size, b"\x07"))


def entry(key: str, **fields: Any) -> str:
    """The record of a key; a field that is None is left out."""
    shown = {"id": key_id_of(key), "sha256": sha256(key.encode()).hexdigest(), "subject": "billing", **fields}
    lines = [f"{name}: {value}" for name, value in shown.items() if value is not None]
    return "- " + "\n  ".join(lines) + "\n"


def write(file: Path, *entries: str) -> Path:
    """A key file with these records, which takes the place of an older one in one step."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_text("keys:\n" + "".join(entries))
    return beside.rename(file)


def keys_in(path: Path, **parts: Any) -> ApiKeyProvider:
    """The provider of the keys at a path."""
    return ApiKeyProvider(**{"name": "partners", "path": str(path), "folder": path.is_dir(), **parts})
