"""What the configuration refers to: read when it is loaded, followed for as long as the server runs.

A path is read once for all references to it, so a user name and its password are of one lease. Secrets without a lease are
looked at regularly; leases are renewed at two thirds of their life, and read anew when renewing gives them less than half of
it (their longest life is nearly over), when Vault does not know them any more, or when the token that they hang on was
replaced. The old lease then runs out by itself, since connections may still use it.

What is wanted as a file is written into it, and whoever reads the file takes it from there. Of all else that changes the
owner is told, once for each look. What can't be read keeps its last value; readiness and the log say so.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from extauthz.errors import VaultError
from extauthz.vault.calls import Vault, VaultState
from extauthz.vault.client import UNWELL
from extauthz.vault.leases import renew, revoke
from extauthz.vault.secret_files import SecretFiles
from extauthz.vault.secrets import Secret, read_secret

__all__ = ["References"]

_log = structlog.get_logger()

_RENEW_AT = 2 / 3
_LATEST, _EARLIEST = 1.0, 0.85
_SHRUNK = 0.5
_LOOK = 1.0
"""Seconds between looks whether the token was replaced."""
_RETRY = (1.0, 15.0)
_PATIENCE = 5.0
"""Seconds for each question while the server waits to start: nobody else waits with it."""
_GIVE_UP = 5.0
"""Seconds that a stop waits for revocations."""


@dataclass(slots=True)
class _Held:
    """A secret that is referred to."""

    path: str
    secret: Secret
    due: float
    values: set[str] = field(default_factory=set)
    """Fields whose values are in the configuration."""
    files: set[str] = field(default_factory=set)
    """Fields that are written into files."""
    granted: float = 0.0
    """The life that its lease had when it was read."""
    retry: float = _RETRY[0]
    error: str = ""


class References:
    """All that a configuration refers to. Implements ``extauthz.config.SecretSource``."""

    def __init__(
        self,
        vault: Vault,
        *,
        clock: Callable[[], float],
        files: SecretFiles | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing is read yet. ``clock`` is monotonic, in seconds."""
        self._vault = vault
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep
        self._files = files or SecretFiles()
        self._held: dict[str, _Held] = {}
        self._wanted: dict[str, tuple[set[str], set[str]]] = {}
        self._unrevoked: dict[str, str] = {}
        """Leases that nobody needs, by id, with what keeps Vault from ending them; empty: not tried yet."""
        self._revoke_at = 0.0
        self._unanswered: VaultError | None = None

    def value(self, path: str, field: str) -> Any:
        """What a field of a secret holds. Blocks. Raises VaultError."""
        held = self._hold(path)
        found = _field(held.secret, held.path, field)
        held.values.add(field)
        self._want(held.path)[0].add(field)
        return found

    def file(self, path: str, field: str) -> str:
        """A file that holds a field of a secret, and goes on doing so. Blocks. Raises VaultError."""
        held = self._hold(path)
        _field(held.secret, held.path, field)
        self._want(held.path)[1].add(field)
        if field not in held.files:
            held.files.add(field)
            self._write(held, held.secret)
        return self._files.path(held.path, field)

    def begin(self) -> None:
        """A configuration is read (again): what it does not ask for until ``settle`` is not needed any more."""
        self._wanted = {}
        self._unanswered = None

    def settle(self) -> None:
        """The configuration that was read is in force."""
        for path in [path for path in self._held if path not in self._wanted]:
            held = self._held.pop(path)
            self._files.remove(path)
            if held.secret.lease_id:
                self._unrevoked[held.secret.lease_id] = ""
        for path, held in self._held.items():
            held.values, held.files = self._wanted[path]

    async def follow(self, changed: Callable[[Sequence[str]], None]) -> None:
        """Renew and read anew, until cancelled. ``changed`` is told which values are others now, as ``path#field``."""
        while True:
            generation = self._vault.session.generation
            for held in list(self._held.values()):
                stale = held.secret.lease_id != "" and held.secret.generation != generation
                if stale or self._clock() >= held.due:
                    others = await self._look(held, renewable=not stale)
                    if others:
                        changed([f"{held.path}#{name}" for name in others])
            if self._unrevoked and self._clock() >= self._revoke_at:
                await self._revoke(list(self._unrevoked))
                self._revoke_at = self._clock() + _RETRY[1] * self._jitter(_EARLIEST, _LATEST)
            soonest = min((held.due for held in list(self._held.values())), default=self._clock() + _LOOK)
            await self._sleep(max(min(soonest - self._clock(), _LOOK), 0.01))

    async def close(self) -> None:
        """Give all leases back, and remove all files. What Vault can't end is told, and ends by itself."""
        for held in self._held.values():
            if held.secret.lease_id:
                self._unrevoked[held.secret.lease_id] = ""
        self._held.clear()
        self._files.close()
        try:
            async with asyncio.timeout(_GIVE_UP):
                while self._unrevoked:
                    await self._revoke(list(self._unrevoked))
                    if self._unrevoked:
                        await self._sleep(_RETRY[0] / 4)
        except TimeoutError:
            _log.error(
                "leases could not be revoked, they end by themselves",
                leases=sorted(_engine(lease) for lease in self._unrevoked),
                problem=next(iter(self._unrevoked.values()), ""),
            )

    @property
    def unrevoked(self) -> int:
        """Leases that nobody needs and Vault has not ended, for metrics."""
        return len(self._unrevoked)

    def state(self) -> VaultState:
        """How the secrets are, for readiness."""
        known = list(self._held.values())  # another thread may read the configuration
        wrong = [f"{held.path}: {held.error}" for held in known if held.error]
        wrong += [
            f"a lease of {_engine(lease)} is not revoked: {error}" for lease, error in self._unrevoked.items() if error
        ]
        leases = sum(bool(held.secret.lease_id) for held in known)
        count = f"{len(known)} secret{'' if len(known) == 1 else 's'}, {leases} of them lent"
        return VaultState(ok=not wrong, text="; ".join([*wrong, count]))

    def _hold(self, path: str) -> _Held:
        """A secret, read if it is not known yet."""
        whole = path or self._vault.settings.secrets_path
        if whole is None:
            raise VaultError("a reference without a path is to vault.secretsPath, which is not set")
        known = self._held.get(whole)
        if known is None:
            if self._unanswered is not None:
                raise self._unanswered  # one wait is enough for all that a configuration refers to
            try:
                secret = read_secret(self._vault.session, whole, timeout=_PATIENCE)
            except VaultError as error:
                if not error.status or error.status in UNWELL or self._vault.session.error:
                    self._unanswered = error
                raise
            known = self._held[whole] = _Held(whole, secret, 0.0, granted=secret.lifetime)
            known.due = self._next(secret)
        return known

    def _want(self, path: str) -> tuple[set[str], set[str]]:
        return self._wanted.setdefault(path, (set(), set()))

    def _next(self, secret: Secret) -> float:
        lasts = secret.lifetime * _RENEW_AT if secret.lease_id else self._vault.settings.refresh
        return self._clock() + lasts * self._jitter(_EARLIEST, _LATEST)

    async def _look(self, held: _Held, *, renewable: bool) -> Sequence[str]:
        """Renew a lease or read a secret anew; gives the fields in the configuration that have another value now."""
        try:
            if renewable and held.secret.renewable:
                renewed = await self._renewed(held)
                if renewed is not None:
                    held.secret = renewed
                    self._well(held)
                    return ()
            fresh = await self._vault.read(held.path)
            for name in (*held.values, *held.files):
                _field(fresh, held.path, name)
            if any(held.secret.fields.get(name) != fresh.fields.get(name) for name in held.files):
                await asyncio.to_thread(self._write, held, fresh)
                _log.info("a secret of vault has changed, its files are written", path=held.path)
        except VaultError as error:
            if str(error) != held.error:
                _log.error(
                    "a secret of vault can't be read, what is known of it stays", path=held.path, problem=str(error)
                )
            held.error = str(error)
            held.due = self._clock() + held.retry * self._jitter(_EARLIEST, _LATEST)
            held.retry = min(held.retry * 2, _RETRY[1])
            return ()
        old, held.secret, held.granted = held.secret, fresh, fresh.lifetime
        if fresh.version < old.version:
            # Not refused: an operator who went back to an older secret means it.
            _log.warning("a secret of vault has an older version than before", path=held.path, version=fresh.version)
        self._well(held)
        return sorted(name for name in held.values if old.fields.get(name) != fresh.fields.get(name))

    async def _renewed(self, held: _Held) -> Secret | None:
        """The same lease with more time; None if it is better read anew."""
        secret = held.secret
        try:
            lifetime = await self._vault.call(lambda client: renew(client, secret.lease_id))
        except VaultError as error:
            if error.status in (400, 403, 404):
                return None
            raise
        if lifetime < held.granted * _SHRUNK:
            return None
        return Secret(secret.fields, secret.version, secret.lease_id, lifetime, secret.renewable, secret.generation)

    def _well(self, held: _Held) -> None:
        held.error, held.retry = "", _RETRY[0]
        held.due = self._next(held.secret)

    async def _revoke(self, leases: Iterable[str]) -> None:
        for lease in leases:
            try:
                await self._vault.call(lambda client, lease=lease: revoke(client, lease))  # type: ignore[misc]
            except VaultError as error:
                self._unrevoked[lease] = str(error)
            else:
                self._unrevoked.pop(lease, None)

    def _write(self, held: _Held, secret: Secret) -> None:
        contents = {name: _content(_field(secret, held.path, name)) for name in held.files}
        try:
            self._files.write(held.path, contents)
        except OSError as error:
            raise VaultError(f"{held.path}: its file can't be written: {error.strerror}") from None


def _field(secret: Secret, path: str, name: str) -> Any:
    if secret.fields.get(name) is None:
        raise VaultError(f"{path}: it has no field {name!r}", 404)
    return secret.fields[name]


def _content(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def _engine(lease: str) -> str:
    """Where a lease is from, without what makes it one: who knows the id can end it."""
    return lease.rpartition("/")[0]
