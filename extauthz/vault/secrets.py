"""Reading a secret wherever it is: a key-value engine of version 1 or 2, or an engine that makes one up and lends it.

A path is written as people know it, ``secret/auth``; what is between its mount and the rest for version 2 (``data``) is put
in here, and may be written as well. Which engine it is, Vault says itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac

from extauthz.errors import VaultError
from extauthz.vault.session import Session

__all__ = ["Place", "Secret", "find_place", "read_secret"]

_MISSING = 404


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret is."""

    mount: str
    """Without slashes around it."""
    rest: str
    """Its path below the mount, without ``data``."""
    engine: str
    """"kv1", "kv2", or the type of another engine."""

    @property
    def path(self) -> str:
        """What is asked for."""
        between = "/data/" if self.engine == "kv2" else "/"
        return f"{self.mount}{between}{self.rest}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, as it was read."""

    fields: Mapping[str, Any] = field(repr=False)
    version: int = 0
    """Of key-value engines of version 2; else 0."""
    lease_id: str = field(default="", repr=False)
    """Empty: it is not lent, and stays until somebody changes it."""
    lifetime: float = 0.0
    """Seconds that it is lent for."""
    renewable: bool = False
    generation: int = 0
    """Of the session that it was lent to: it dies with that session's token."""


def find_place(client: hvac.Client, path: str) -> Place:
    """Where a secret with this path is. Raises VaultError."""
    whole = path.strip("/")
    answer: Any = client.adapter.get(f"/v1/sys/internal/ui/mounts/{whole}")
    data = answer["data"]
    mount = str(data["path"]).strip("/")
    rest = whole.removeprefix(mount).strip("/")
    engine = str(data["type"])
    if engine in ("kv", "generic"):
        engine = f"kv{(data.get('options') or {}).get('version') or 1}"
    if engine == "kv2":
        rest = rest.removeprefix("data/")
    if not rest:
        raise VaultError(f"{path}: it names an engine, and no secret in it", _MISSING)
    return Place(mount, rest, engine)


def read_secret(session: Session, path: str, *, timeout: float | None = None) -> Secret:
    """Read a secret. Blocks. Raises VaultError; its status is 404 if there is none."""
    place = session.ask(lambda client: find_place(client, path), timeout=timeout)
    answer = session.ask(lambda client: _read(client, place), timeout=timeout)
    generation = session.generation
    data = answer.get("data")
    if place.engine == "kv2":
        version = int(data["metadata"]["version"])
        return Secret(data["data"] or {}, version, generation=generation)
    # Version 1 says how often it wants to be read, without lending anything.
    lease = str(answer.get("lease_id") or "")
    return Secret(
        data or {},
        lease_id=lease,
        lifetime=float(answer.get("lease_duration") or 0) if lease else 0.0,
        renewable=bool(answer.get("renewable")),
        generation=generation,
    )


def _read(client: hvac.Client, place: Place) -> Any:
    try:
        return client.adapter.get(f"/v1/{place.path}")
    except VaultError as error:
        if error.status == _MISSING:
            raise VaultError(f"{place.path}: there is no such secret", _MISSING) from None
        raise
