"""The clients that the configuration names, with the secrets and keys that their files hold now.

The files are looked at every second. What can't be read at start is an error in the configuration; later the clients stay
as they were last read, and the fault is told.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from extauthz.app.written_clients import client_value
from extauthz.config import TokenClient, Tokens
from extauthz.errors import ConfigError, KeySetError, Position, Problem
from extauthz.identity import ClientAssertions
from extauthz.tokens.client_authentication import secret_digest
from extauthz.tokens.clients import Client

__all__ = ["ClientFiles"]

_log = structlog.get_logger(__name__)

_LOOK: Final = 1.0
"""Seconds between looks at the files."""
_MAX_FILE_SIZE: Final = 65_536
_MIN_SECRET: Final = 27
"""Characters: 160 random bits take as many in base64url. For less, one pass of SHA-256 would not be enough."""
_MAX_SECRET: Final = 1_024
_MAKE: Final = "make one with: (umask 077; openssl rand -hex 32 >"
"""For its owner alone, and the name of the file follows."""

_Stamp = tuple[tuple[int, int, int, int], ...]


class ClientFiles:
    """Reads them, and reads them again."""

    def __init__(self, tokens: Tokens, assertions: ClientAssertions) -> None:
        """Nothing is read yet; ``assertions`` knows which keys can be used."""
        self._tokens = tokens
        self._assertions = assertions
        self._paths = [path for client in tokens.clients for path in _paths(client)]
        self._stamp: _Stamp = ()
        self.error = ""
        """What is wrong with the files now; empty if nothing is. Holds no secret."""

    def read(self) -> Mapping[str, Client]:
        """All clients by id.

        Raises:
            ConfigError: Files can't be used; it has every problem, and nothing of what they hold.
        """
        # The stamp comes first: what changes meanwhile is read again at the next look.
        self._stamp = _stamp(self._paths)
        problems: list[Problem] = []
        clients = {client.id: self._client(client, problems) for client in self._tokens.clients}
        if problems:
            raise ConfigError(problems)
        return clients

    async def run(self, changed: Callable[[Mapping[str, Client]], None]) -> None:
        """Look at the files until cancelled, and hand on the clients when something about them has changed."""
        while True:
            await asyncio.sleep(_LOOK)
            if _stamp(self._paths) == self._stamp:
                continue
            try:
                changed(self.read())
            except ConfigError as error:
                self.error = str(error).replace("\n", "; ")
                _log.warning("the clients stay as they were", error=self.error)
            else:
                self.error = ""
                _log.info("the clients' secrets and keys were read again")

    def _client(self, written: TokenClient, problems: list[Problem]) -> Client:
        secrets = [written.secret_file] if written.secret_file else list(written.secret_files or ())
        return client_value(
            written,
            self._tokens,
            secret_digests=[_secret(path, problems) for path in secrets],
            public_keys=self._keys(written.jwks_file, problems),
        )

    def _keys(self, path: str | None, problems: list[Problem]) -> Mapping[str, Any] | None:
        if path is None:
            return None
        content = _content(path, problems)
        try:
            return None if content is None else self._assertions.key_set(content)
        except KeySetError as error:
            problems.append(Problem(Position(path), str(error), "a JWK Set with the client's public keys is wanted"))
            return None


def _secret(path: str, problems: list[Problem]) -> bytes:
    """The digest of a secret; without the newline that editors and ``echo`` leave behind it."""
    content = _content(path, problems, f"{_MAKE} {path})")
    if content is None:
        return b""
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        secret = ""
    if not secret.isprintable() or not _MIN_SECRET <= len(secret) <= _MAX_SECRET:
        problems.append(
            Problem(
                Position(path),
                f"does not hold one line of {_MIN_SECRET} to {_MAX_SECRET} characters",
                f"{_MAKE} {path})",
            )
        )
    return secret_digest(secret)


def _content(path: str, problems: list[Problem], hint: str = "") -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_FILE_SIZE + 1)
    except OSError as error:
        remedy = hint if isinstance(error, FileNotFoundError) else ""
        problems.append(Problem(Position(path), f"can't be read: {error.strerror}", remedy))
        return None
    if mode & stat.S_IWOTH:
        problems.append(
            Problem(
                Position(path),
                f"can be written by anybody ({stat.filemode(mode)}), who could make themselves the client",
                f"see who did, then chmod o-w {path}",
            )
        )
    if len(content) > _MAX_FILE_SIZE:
        problems.append(Problem(Position(path), f"is larger than {_MAX_FILE_SIZE} bytes"))
        return None
    return content


def _paths(client: TokenClient) -> list[str]:
    return [path for path in (client.secret_file, *(client.secret_files or ()), client.jwks_file) if path]


def _stamp(paths: list[str]) -> _Stamp:
    """What tells one state of the files from another, zeros for one that can't be looked at."""
    marks = []
    for path in paths:
        try:
            status = Path(path).stat()
        except OSError:
            marks.append((0, 0, 0, 0))
        else:
            marks.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(marks)
