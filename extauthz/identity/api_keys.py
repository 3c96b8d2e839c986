"""Programs that show an API key: a provider that knows the digest of each key it has given out.

What a request costs is the same whatever it brings: the form is checked (which tells an attacker nothing, since everybody
knows it), one SHA-256 is computed and one comparison of digests is made in constant time; a key that nobody has is
compared with a digest that no text has. Only who showed the right secret learns that the key was revoked or has expired.

All keys are one immutable table; a reload swaps one reference. The files are looked at twice a second, so a change is in
force within a second; what can't be read changes nothing but the state that ``/readyz?verbose`` and the log tell. The
callers' roles are worked out when the table is made, not when they call.

Reasons: no key of ours or one that was cut: ``token-malformed``; unknown or a wrong secret: ``credentials-invalid``;
disabled: ``token-revoked``; over: ``token-expired``.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog

from extauthz.errors import ConfigError, Problem
from extauthz.identity.api_key_files import KeyFiles
from extauthz.identity.api_key_form import KEY_ID, key_id_of
from extauthz.identity.api_key_records import ApiKeyRecord, time_text
from extauthz.identity.explanation import Step, roles_step
from extauthz.identity.providers import HeaderPlace, Place, ProviderState
from extauthz.identity.roles import NO_ROLES, ClaimPath, RoleReader, RoleRules
from extauthz.identity.voucher import Verdict
from extauthz.model import Deny, Identity, Reason, VerifiedClaims

__all__ = ["API_KEY_PLACES", "ApiKeyProvider", "ApiKeys"]

API_KEY_PLACES: tuple[Place, ...] = (HeaderPlace("x-api-key", ""),)

INTERVAL = 0.5
"""Seconds between looks at the files."""

_ROLES = ClaimPath(("roles",))

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKeyProvider:
    """Keys in a file or in a folder of files.

    Raises:
        ValueError: The parts can't be together.
    """

    name: str
    path: str
    folder: bool = False
    """The path is a folder."""
    prefix: str = "eak_"
    places: tuple[Place, ...] = API_KEY_PLACES
    roles: RoleRules = NO_ROLES
    """``claims`` means nothing here: the roles stand in the key file."""

    def __post_init__(self) -> None:
        """Refuse what could pick no key."""
        if not self.name or not self.path or not self.places or not KEY_ID.fullmatch(self.prefix + "0" * 12):
            message = f"provider {self.name!r}: it needs a name, a path, a place and a prefix such as eak_"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class _Row:
    """What one key proves."""

    digest: bytes
    identity: Identity | None
    """None: revoked."""
    expires: float


_NOBODY = _Row(bytes(32), None, 0.0)
"""What unknown keys are compared with. No text is known, or can be found, whose digest is zero."""

_Table = Mapping[str, _Row]


class ApiKeys:
    """The keys of one provider. Belongs to one event loop."""

    def __init__(
        self,
        provider: ApiKeyProvider,
        included: Mapping[str, frozenset[str]],
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Read the keys; ``included`` is what ``included_roles`` made.

        Raises:
            ConfigError: Something is wrong with the key files.
        """
        self.name = provider.name
        self.prefix = provider.prefix
        self.started = True
        self._issuer = f"api-keys:{provider.name}"
        self._roles = RoleReader(replace(provider.roles, claims=(_ROLES,)), included)
        self._files = KeyFiles(provider.path, folder=provider.folder)
        self._now = now
        self._sleep = sleep
        self._error = ""
        self._table: _Table = self._read()
        self._confirmed = now()

    def identify(self, token: str, now: float, *, waited: bool) -> Verdict:  # noqa: ARG002 - there is nothing to wait for
        """The caller to whom a key was given."""
        key_id = key_id_of(token)
        if key_id is None:
            return Deny(Reason.TOKEN_MALFORMED, "not an API key, or one that was cut or mistyped", provider=self.name)
        row = self._table.get(key_id, _NOBODY)
        equal = hmac.compare_digest(sha256(token.encode("ascii")).digest(), row.digest)
        if row is _NOBODY:
            return Deny(Reason.CREDENTIALS_INVALID, "nobody has an API key with this id", provider=self.name)
        if not equal:
            return Deny(Reason.CREDENTIALS_INVALID, f"the secret of API key {key_id} is wrong", provider=self.name)
        if row.identity is None:
            return Deny(Reason.TOKEN_REVOKED, f"API key {key_id} was revoked", provider=self.name)
        if now >= row.expires:
            detail = f"API key {key_id} expired at {time_text(row.expires)}"
            return Deny(Reason.TOKEN_EXPIRED, detail, provider=self.name)
        return row.identity

    def role_steps(self, identity: Identity) -> Iterable[Step]:
        """The roles alone: what the key's record says became roles when it was read."""
        return (roles_step(identity.roles),)

    def state(self) -> ProviderState:
        """How the key files are doing; ``age_seconds`` is since they were last known to be what is in force."""
        return ProviderState(
            self.name, usable=True, age_seconds=max(self._now() - self._confirmed, 0), error=self._error
        )

    async def run(self) -> None:
        """Follow the key files until cancelled."""
        while True:
            await self._sleep(INTERVAL)
            await self._look()

    async def _look(self) -> None:
        try:
            table = await asyncio.to_thread(self._changed)
        except ConfigError as error:
            self._fail(_summary(error.problems))
        except Exception as error:  # noqa: BLE001 - whatever it is, other providers must go on
            self._fail(f"unexpected fault: {type(error).__name__}")
        else:
            if table is not None:
                _log.info("api_keys.changed", provider=self.name, keys=len(table))
                self._table = table
                self._error = ""
            if not self._error:
                self._confirmed = self._now()

    def _fail(self, error: str) -> None:
        if error != self._error:
            _log.error("api_keys.not_loaded", provider=self.name, error=error, in_force=len(self._table))
        self._error = error

    def _changed(self) -> _Table | None:
        return self._read() if self._files.changed() else None

    def _read(self) -> _Table:
        """The table as the files have it. Blocks. Raises ConfigError."""
        records = self._files.read()
        strangers = [
            Problem(record.where, f"the id of an API key of provider {self.name!r} begins with {self.prefix}")
            for record in records
            if not record.id.startswith(self.prefix)
        ]
        if strangers:
            raise ConfigError(strangers)
        return {record.id: self._row(record) for record in records}

    def _row(self, record: ApiKeyRecord) -> _Row:
        expires = float("inf") if record.expires is None else record.expires
        if record.disabled:
            return _Row(record.digest, None, expires)
        roles = self._roles.roles({"roles": list(record.roles)})
        claims = VerifiedClaims({"iss": self._issuer, "sub": record.subject, "key_id": record.id})
        identity = Identity(record.subject, self._issuer, self.name, roles, (), claims, record.expires)
        return _Row(record.digest, identity, expires)


def _summary(problems: Iterable[Problem]) -> str:
    """The first problem, and how many more there are."""
    first, *others = problems
    return f"{first}" + (f" (and {len(others)} more)" if others else "")
