"""A provider's keys over time: fetched before anyone asks, renewed while they are used, never older than stated.

Requests read ``keys`` and go on; all loading happens beside them, in ``run`` and in flights that requests may join.

- One flight at a time per provider. Whoever needs it waits for the same one; a waiter that is cancelled leaves it alone.
- A set is renewed after ``max-age``, bounded to [30 s, 1 h], or 5 minutes. So a key that its issuer withdraws stops
  verifying within that time, at most an hour.
- A renewal that fails changes nothing but the state: the set in force stays for up to 24 hours after it was last
  confirmed, then it is dropped. Attempts go on after 1 s, doubling to 30 s.
- A token with an unknown ``kid`` may cause one extra flight per 30 s, whatever the number of such tokens.
- Files are looked at every 2 s.

Times are read from the clock that is passed in; only the pauses between attempts are slept.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable

import structlog

from extauthz.errors import KeySetError, UpstreamError
from extauthz.identity.key_loading import FileLoader, FixedLoader, Loader, RemoteLoader
from extauthz.identity.key_sets import KeySet
from extauthz.identity.providers import ProviderState

__all__ = ["KeyRing"]

FILE_INTERVAL = 2.0
REFRESH_INTERVAL = 300.0
REFRESH_BOUNDS = (30.0, 3600.0)
MAX_STALENESS = 86_400.0
REFETCH_COOLDOWN = 30.0
BACKOFF_BOUNDS = (1.0, 30.0)

_log = structlog.get_logger(__name__)


class KeyRing:
    """The keys of one provider. Belongs to one event loop."""

    def __init__(
        self,
        provider: str,
        loader: Loader,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Take what the loader has already; ``now`` is in seconds since the epoch."""
        self._provider = provider
        self._loader = loader
        self._now = now
        self._sleep = sleep
        self._keys = None if isinstance(loader, RemoteLoader) else loader.keys
        self._confirmed = now()
        self._max_age: float | None = None
        self._flight: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._refetched_at = -math.inf
        self._error = ""
        self.started = self._keys is not None
        """The first attempt has ended, well or badly."""

    def keys(self) -> KeySet | None:
        """The keys in force; None if there are none, or none that were confirmed within the last 24 hours."""
        if self._keys is None or isinstance(self._loader, FixedLoader):
            return self._keys
        return self._keys if self._now() - self._confirmed <= MAX_STALENESS else None

    def state(self) -> ProviderState:
        """How the keys are doing."""
        age = None if self._keys is None else max(self._now() - self._confirmed, 0.0)
        if isinstance(self._loader, FixedLoader):
            age = 0.0
        return ProviderState(self._provider, self.keys() is not None, age, self._error)

    def first_arrival(self) -> Callable[[], Awaitable[None]] | None:
        """What to await if there are no keys; None if none can be expected before the next attempt is due."""
        return self._arrive if isinstance(self._loader, RemoteLoader) and self._may_attempt() else None

    def renewal(self) -> Callable[[], Awaitable[None]] | None:
        """What to await if the keys lack one; None if they were renewed for that reason a moment ago."""
        return self._renew if isinstance(self._loader, RemoteLoader) and self._may_renew() else None

    def retry_after(self) -> int:
        """Whole seconds until keys can be expected, at least 1."""
        return max(math.ceil(self._until_retry()), 1)

    async def run(self) -> None:
        """Keep the keys current until cancelled."""
        try:
            match self._loader:
                case FixedLoader():
                    return
                case FileLoader() as loader:
                    while True:
                        await self._sleep(FILE_INTERVAL)
                        await self._look_at(loader)
                case RemoteLoader():
                    while True:
                        await self._join()
                        await self._sleep(self._pause())
        finally:
            if self._flight is not None:
                self._flight.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._flight

    # Time may pass before a waiter begins to wait, so what allowed the waiting is looked at again.

    async def _arrive(self) -> None:
        if self._may_attempt():
            await self._join()

    async def _renew(self) -> None:
        if self._may_renew():
            if self._flight is None:
                self._refetched_at = self._now()
            await self._join()

    def _may_attempt(self) -> bool:
        return self._flight is not None or self._until_retry() <= 0

    def _may_renew(self) -> bool:
        # A clock that was set back must not stretch the pause.
        return self._flight is not None or not 0 <= self._now() - self._refetched_at < REFETCH_COOLDOWN

    async def _join(self) -> None:
        """Wait for the flight under way, or begin one."""
        flight = self._flight
        if flight is None:
            flight = self._flight = asyncio.create_task(self._fly(), name=f"keys of {self._provider}")
            flight.add_done_callback(self._landed)
        # wait() and not await: cancelling the waiter must not cancel what others wait for.
        await asyncio.wait((flight,))

    def _landed(self, _flight: asyncio.Task[None]) -> None:
        self._flight = None

    async def _fly(self) -> None:
        """One attempt to load remote keys. Raises nothing: a fault in it must harm this provider alone."""
        if not isinstance(self._loader, RemoteLoader):
            return
        try:
            loaded = await self._loader.load()
        except (UpstreamError, KeySetError) as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, other providers must go on
            self._fault(error)
        else:
            self._max_age = loaded.max_age
            self._succeed(loaded.keys)

    async def _look_at(self, loader: FileLoader) -> None:
        """One look at a file."""
        try:
            changed = await loader.changed()
        except KeySetError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, other providers must go on
            self._fault(error)
        else:
            self._succeed(changed or loader.keys)

    def _succeed(self, keys: KeySet) -> None:
        if self._keys is None or self._error:
            _log.info("keys.loaded", provider=self._provider, keys=len(keys.keys), skipped=keys.skipped)
        elif keys.keys != self._keys.keys:
            _log.info("keys.changed", provider=self._provider, keys=len(keys.keys), skipped=keys.skipped)
        self._keys = keys
        self._confirmed = self._now()
        self._failures = 0
        self._retry_at = 0.0
        self._error = ""
        self.started = True

    def _fail(self, error: str) -> None:
        if error != self._error:
            _log.warning("keys.unavailable", provider=self._provider, error=error, in_force=self._keys is not None)
        self._error = error
        self._retry_at = self._now() + self._backoff()
        self._failures += 1
        self.started = True

    def _fault(self, error: Exception) -> None:
        """An exception that nobody expected. Its text may hold anything, so only the log of the first one has it."""
        text = f"unexpected fault: {type(error).__name__}"
        if text != self._error:
            _log.error("keys.fault", provider=self._provider, exc_info=error)
        self._fail(text)

    def _backoff(self) -> float:
        shortest, longest = BACKOFF_BOUNDS
        return min(math.ldexp(shortest, min(self._failures, 10)), longest)

    def _until_retry(self) -> float:
        """Seconds until a failed attempt may be repeated; a clock that was set back does not stretch them."""
        return min(self._retry_at - self._now(), BACKOFF_BOUNDS[1])

    def _pause(self) -> float:
        """Seconds until the next attempt."""
        if self._error:
            return max(self._until_retry(), BACKOFF_BOUNDS[0])
        shortest, longest = REFRESH_BOUNDS
        return REFRESH_INTERVAL if self._max_age is None else min(max(self._max_age, shortest), longest)
