"""The signing keys as they were last seen: looked at every few seconds, and answered from memory in between.

A look may be missed, but not for longer than a new key takes to become current: after that somebody else may be signing
with a key that this process has never seen, and what is known here counts as stale.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from extauthz.errors import KeysWentBackError, SigningError
from extauthz.tokens.key_view import KeyView, view_of
from extauthz.tokens.ports import KeyBackend, KeyVersion
from extauthz.tokens.schedule import KeySchedule

__all__ = ["SeenKeys"]

_log = structlog.get_logger(__name__)


class SeenKeys:
    """What is known of the keys of a backend. Belongs to one event loop."""

    def __init__(self, backend: KeyBackend, schedule: KeySchedule, *, now: Callable[[], float], refresh: float) -> None:
        """Nothing is read yet. ``now`` gives seconds since the epoch, ``refresh`` is how many are between two looks."""
        self._backend = backend
        self._schedule = schedule
        self._now = now
        self._refresh = refresh
        self._read_at: float | None = None
        self._looking = asyncio.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.view: KeyView = view_of(())
        self.looks = 0
        """How often they were looked at."""
        self.error = ""
        """Why the last look, or what followed on it, failed; empty if it did not. Holds no secret."""
        self.failures = 0
        self.went_back = 0
        """How often they were older than those seen before."""

    @property
    def versions(self) -> tuple[KeyVersion, ...]:
        """All keys, oldest first."""
        return self.view.versions

    @property
    def age(self) -> float | None:
        """Seconds since the last look that went well; None if none did."""
        return None if self._read_at is None else max(self._now() - self._read_at, 0.0)

    @property
    def stale(self) -> bool:
        """Whether a key could be current by now that was made after the last look."""
        if self._read_at is None:
            return True
        return self._now() - self._read_at > max(self._schedule.publish_delay, 2 * self._refresh)

    def current(self) -> KeyVersion:
        """The key whose turn it is to sign.

        Raises:
            SigningError: There is none, or nobody here can say which.
        """
        if self.stale:
            since = "have not been read yet" if self._read_at is None else "were read too long ago"
            raise SigningError(f"the signing keys {since}" + (f": {self.error}" if self.error else ""))
        version = self._schedule.current(self.view.versions, self._now())
        if version is None:
            raise SigningError(self.error or "there is no signing key yet")
        return version

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back each time others verify with other keys than before."""
        self._callbacks.append(callback)

    async def refresh(self) -> None:
        """Look at the keys.

        Raises:
            SigningError: The backend can't be asked, or what it says can't be used; what was known stays.
        """
        async with self._looking:
            await self._look()

    async def look_again(self, looks: int) -> None:
        """Look at the keys, unless somebody has since there had been so many looks. What fails is told."""
        try:
            async with self._looking:
                if self.looks == looks:
                    await self._look()
        except SigningError as error:
            self.fail(str(error))

    def fail(self, error: str) -> None:
        """Note that a look, or what followed on it, went wrong."""
        if error != self.error:
            in_force = len(self.view.placed)
            _log.warning("signing.keys_unavailable", backend=self._backend.name, error=error, in_force=in_force)
        self.error = error
        self.failures += 1

    def mend(self) -> None:
        """Note that all went well."""
        if self.error:
            _log.info("signing.keys_read", backend=self._backend.name)
        self.error = ""

    def pass_time(self) -> None:
        """Let time go on, for keys that can't be looked at, too: one whose tokens have all ended is no longer published."""
        self._show(self.view.versions)

    async def _look(self) -> None:
        self.looks += 1
        try:
            versions = await self._backend.versions()
        except KeysWentBackError:
            self.went_back += 1
            raise
        if not versions and self.view.placed and self._backend.rotates:
            # A volume that is not mounted looks like this. To begin anew would refuse all tokens that there are.
            raise SigningError(
                f"all keys ({self._backend.name}) have disappeared; bring them back, or begin anew with extauthz keys rotate"
            )
        self._show(versions)
        self._read_at = self._now()

    def _show(self, versions: Sequence[KeyVersion]) -> None:
        """Let these be the keys, from now on."""
        placed, before = self._schedule.place(versions, self._now()), self.view
        if placed == before.placed:
            return
        view = self.view = view_of(placed)
        if view.placed and before.placed:
            was, now = before.placed[-1].version, view.placed[-1].version
            if now.created < was.created:
                self.went_back += 1
                _log.error("signing.keys_went_back", backend=self._backend.name, newest=now.kid, was=was.kid)
        if view.verification != before.verification:
            kids = [version.kid for version in view.verification]
            _log.info("signing.keys_changed", backend=self._backend.name, kids=kids)
            for callback in self._callbacks:
                callback()
