"""Making the next key, and destroying keys: by the clock, by a person, in an emergency; by one replica alone.

Whoever wants to make a key first claims, in the store that all replicas share, the right to follow on the newest one; the
backend then makes it only if that one is still the newest. Either would do where both work: the claim is for backends that
can't compare, the comparison for stores that are this process's own. To be late is no failure: the key is there.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from extauthz.errors import AlreadyRotatedError, AuditError, SigningError, StoreError
from extauthz.tokens.ports import AuditEvent, AuditLog, KeyBackend, KeyVersion
from extauthz.tokens.schedule import KeySchedule

__all__ = ["Claims", "Rotation"]

_log = structlog.get_logger(__name__)

_CLAIM = 60.0
"""Seconds for which the right to make a key is one replica's; one that has died leaves it to the others after that."""
_PATIENCE = 5.0
"""Seconds that somebody who was late waits for the key of who was faster."""
_PAUSE = 0.1


class Claims(Protocol):
    """What is claimed by one replica alone; a ``TokenStore`` is that."""

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time: True for one caller, False for all others until then."""
        ...


class Seen(Protocol):
    """The keys as they were last seen."""

    @property
    def versions(self) -> tuple[KeyVersion, ...]:
        """All, oldest first."""
        ...

    async def refresh(self) -> None:
        """Look at them."""
        ...


class Rotation:
    """Makes and destroys keys."""

    def __init__(
        self,
        keys: Seen,
        backend: KeyBackend,
        schedule: KeySchedule,
        claims: Claims,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        audit: AuditLog | None,
    ) -> None:
        """Nothing is done yet."""
        self._keys = keys
        self._backend = backend
        self._schedule = schedule
        self._claims = claims
        self._now = now
        self._sleep = sleep
        self._audit = audit
        self._callbacks: list[Callable[[Sequence[str]], Awaitable[None]]] = []
        self.made = 0
        """Keys that were made here."""

    def on_revoke(self, callback: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """Call back with the kids of keys before they are destroyed in an emergency."""
        self._callbacks.append(callback)

    async def tend(self) -> None:
        """Do what the clock asks for; the keys have just been looked at."""
        versions = self._keys.versions
        if not versions:
            await self._successor(None)
        elif self._schedule.due(versions, self._now()) and await self._make(versions[-1]):
            await self._keys.refresh()
        oldest = self._schedule.destroyable(self._keys.versions, self._now())
        if oldest is not None:
            await self._backend.remove(oldest.kid)
            _log.info("signing.key_destroyed", backend=self._backend.name, kid=oldest.kid)
            await self._keys.refresh()

    async def rotate(self, *, force: bool) -> KeyVersion:
        """Make the next key if it is due or ``force``; gives the newest one."""
        await self._keys.refresh()
        newest = _newest(self._keys.versions)
        if newest is not None and not force and not self._schedule.due(self._keys.versions, self._now()):
            return newest
        return await self._successor(newest)

    async def revoke(self, kid: str) -> None:
        """Destroy a key and all that are older."""
        await self._keys.refresh()
        versions = self._keys.versions
        kids = [version.kid for version in versions]
        doomed = kids[: kids.index(kid) + 1] if kid in kids else []
        if not doomed:
            raise SigningError(f"there is no key {kid!r}; extauthz keys list shows those that there are")
        self._writable()
        newest = versions[-1]
        replaced = kid != newest.kid
        # What follows on a key from the future is from the future too: such a key makes room first, if it can.
        if not replaced and not self._is_ahead(newest):
            await self._successor(newest, urgent=True)
            replaced = True
        failure: StoreError | None = None
        for callback in self._callbacks:
            try:
                await callback(doomed)
            except StoreError as error:
                # To destroy the key is what counts; each replica will see for itself that it is gone.
                failure = error
        try:
            await self._backend.remove(kid)
        except SigningError:
            if replaced:
                raise
            # Vault's Transit does not part with its last key.
            await self._successor(newest, urgent=True)
            replaced = True
            await self._backend.remove(kid)
        _log.warning("signing.key_revoked", backend=self._backend.name, kids=doomed)
        if not replaced:
            await self._successor(None, urgent=True)
        await self._keys.refresh()
        for gone in doomed:
            self._record("revoke-key", gone, "with all that it has signed")
        if failure is not None:
            raise failure

    async def _successor(self, newest: KeyVersion | None, *, urgent: bool = False) -> KeyVersion:
        """The key after a key, made here or by somebody who was faster."""
        await self._make(newest, urgent=urgent)
        for _ in range(int(_PATIENCE / _PAUSE)):
            await self._keys.refresh()
            now_newest = _newest(self._keys.versions)
            if now_newest is not None and (newest is None or now_newest.kid != newest.kid):
                return now_newest
            await self._sleep(_PAUSE)
        raise SigningError("another replica has begun to make the next key and has not ended; try again in a minute")

    async def _make(self, newest: KeyVersion | None, *, urgent: bool = False) -> bool:
        """Make the key after a key; False if somebody else does, or has done so. ``urgent``: rather two keys than none."""
        self._writable()
        now = self._now()
        if newest is not None and self._is_ahead(newest) and not urgent:
            raise SigningError(
                f"the newest key {newest.kid} was made in the future: some clock is wrong. Set it right, then wait, or "
                "revoke that key"
            )
        kid = newest.kid if newest is not None else None
        try:
            mine = await self._claims.use_once(f"rotate:{self._backend.name}:{kid or ''}", now + _CLAIM, now=now)
        except StoreError:
            if not urgent:
                raise
            mine = True
        if not mine and not urgent:
            return False
        try:
            made = await self._backend.add(self._schedule.algorithm, newest=kid, created=now)
        except AlreadyRotatedError:
            return False
        self.made += 1
        _log.info("signing.key_made", backend=self._backend.name, kid=made.kid, algorithm=made.algorithm)
        try:
            self._record("rotate", made.kid, f"after {kid}" if kid else "the first one")
        except AuditError:
            # An emergency does not wait for the log, which is asked once more at its end.
            if not urgent:
                raise
        return True

    def _writable(self) -> None:
        if not self._backend.rotates:
            raise SigningError(f"the keys ({self._backend.name}) are written by somebody else, who has to replace them")

    def _is_ahead(self, version: KeyVersion) -> bool:
        return version.created > self._now() + max(self._schedule.skew, 1.0)

    def _record(self, action: str, kid: str, detail: str) -> None:
        if self._audit is not None:
            self._audit.record(AuditEvent(action, "done", key_id=kid, detail=detail))


def _newest(versions: Sequence[KeyVersion]) -> KeyVersion | None:
    return versions[-1] if versions else None
