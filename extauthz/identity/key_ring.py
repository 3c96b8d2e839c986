"""A provider's keys over time: fetched before anyone asks, renewed while they are used, never older than stated.

Requests read ``keys`` and go on; all loading happens beside them, in ``run`` and in flights that requests may join.

- One flight at a time per provider, so an older answer never comes after a newer one. Whoever needs it waits for the
  same one; a waiter that is cancelled leaves it alone.
- A set is fresh for ``max-age``, bounded to [30 s, 1 h], or 5 minutes, and is renewed when 70 to 90 % of that have
  passed; where in between is drawn anew each time, so that replicas do not ask in step. So a key that its issuer
  withdraws stops verifying within that time, at most an hour.
- A renewal that fails changes nothing but the state: the set in force stays for up to 24 hours after it was last
  confirmed, then it is dropped. Attempts go on after 1 s, doubling to 30 s, each up to a fifth earlier.
- A token that no key fits may cause one extra flight per 30 s, whatever the number of such tokens: one with an unknown
  ``kid``, or one without ``kid`` that none of the keys has signed. (A forger can cause the same flight with any ``kid``,
  so the second kind opens nothing. A known ``kid`` with a bad signature causes none: an issuer that reuses a ``kid`` for
  another key is healed by the next renewal.)
- Files are looked at every 2 s.
- The keys of this process's own token service are taken when they change. A token that none of them fits lets them be
  looked at again, in the same flight: another replica may have made the next one.

What was verified with the keys may be remembered elsewhere, for as long as the ``Lease`` lasts that was current then. A
set from which a key has disappeared ends it.

Times are read from the clock that is passed in, and chance from where the caller says; only pauses are slept.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from extauthz.errors import KeySetError, SigningError, UpstreamError
from extauthz.identity.key_loading import FileLoader, FixedLoader, Loader, OwnKeyLoader, RemoteLoader
from extauthz.identity.key_sets import KeySet
from extauthz.identity.providers import ProviderState

__all__ = ["KeyRing", "Lease"]

FILE_INTERVAL = 2.0
REFRESH_INTERVAL = 300.0
REFRESH_BOUNDS = (30.0, 3600.0)
MAX_STALENESS = 86_400.0
REFETCH_COOLDOWN = 30.0
BACKOFF_BOUNDS = (1.0, 30.0)
_LATEST, _SPREAD = 0.9, 0.2
"""When a set is renewed, as a part of the time that it is fresh for: at the latest, and how much earlier by chance."""
_SHORTEST_PAUSE = 0.5
_AWAITED = (RemoteLoader, OwnKeyLoader)
"""Where waiting may bring a key."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Lease:
    """For how long what was verified with a provider's keys may be believed without asking them again."""

    until: float
    """Seconds since the epoch. Moved on when the keys are confirmed, and to the past when one of them disappears."""


class KeyRing:
    """The keys of one provider. Belongs to one event loop."""

    def __init__(
        self,
        provider: str,
        loader: Loader,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
    ) -> None:
        """Take what the loader has already; ``now`` is in seconds since the epoch, ``chance`` in [0, 1)."""
        self._provider = provider
        self._loader = loader
        self._now = now
        self._sleep = sleep
        self._chance = chance
        self._keys = None if isinstance(loader, RemoteLoader) else loader.keys
        self._confirmed = now()
        self.lease = Lease(self._latest())
        """The current one; another one when keys have disappeared."""
        self._max_age: float | None = None
        self._flight: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._refetched_at = -math.inf
        self._error = ""
        self.started = self._keys is not None
        """The first attempt has ended, well or badly."""
        if isinstance(loader, OwnKeyLoader):
            loader.on_change(lambda: self._take(loader))

    def keys(self) -> KeySet | None:
        """The keys in force; None if there are none, or none that were confirmed within the last 24 hours."""
        return self._keys if self._now() < self.lease.until else None

    def state(self) -> ProviderState:
        """How the keys are doing."""
        age = None if self._keys is None else max(self._now() - self._confirmed, 0.0)
        own = isinstance(self._loader, OwnKeyLoader)
        if own or isinstance(self._loader, FixedLoader):
            age = 0.0
        retry_after = self.retry_after() if self._error and isinstance(self._loader, RemoteLoader) else 0
        return ProviderState(self._provider, self.keys() is not None, age, self._error, retry_after, own)

    def first_arrival(self) -> Callable[[], Awaitable[None]] | None:
        """What to await if there are no keys; None if none can be expected before the next attempt is due."""
        return self._arrive if isinstance(self._loader, _AWAITED) and self._may_attempt() else None

    def renewal(self) -> Callable[[], Awaitable[None]] | None:
        """What to await if no key fits a token; None if they were renewed for that reason a moment ago."""
        return self._renew if isinstance(self._loader, _AWAITED) and self._may_renew() else None

    def retry_after(self) -> int:
        """Whole seconds until keys can be expected, at least 1."""
        return max(math.ceil(self._until_retry()), 1)

    async def run(self) -> None:
        """Keep the keys current until cancelled."""
        try:
            match self._loader:
                case FixedLoader() | OwnKeyLoader():
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
        before = self._keys
        if self._flight is not None:
            await self._join()
            if self._keys != before:
                return
            # That flight may have begun before the token's key was published: its answer proves nothing.
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
        """One attempt to load keys from elsewhere. Raises nothing: a fault in it must harm this provider alone."""
        if isinstance(self._loader, OwnKeyLoader):
            await self._look_for(self._loader)
            return
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

    async def _look_for(self, loader: OwnKeyLoader) -> None:
        """Whether there is another own key. Those in force are not in question if that can't be said."""
        try:
            await loader.look()
        except SigningError as error:
            if self._keys is None:
                self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, other providers must go on
            self._fault(error)
        else:
            self._take(loader)

    def _take(self, loader: OwnKeyLoader) -> None:
        """Take the own keys as they are."""
        keys = loader.keys
        if keys is not None:
            self._succeed(keys)
            return
        if self._keys is not None:
            self.lease.until = -math.inf
            self.lease = Lease(math.inf)
            self._keys = None
        self._fail("there is no key to verify with")

    def _succeed(self, keys: KeySet) -> None:
        if self._keys is None or self._error:
            _log.info("keys.loaded", provider=self._provider, keys=len(keys.keys), skipped=keys.skipped)
        elif keys.keys != self._keys.keys:
            _log.info("keys.changed", provider=self._provider, keys=len(keys.keys), skipped=keys.skipped)
        if self._keys is not None and any(key not in keys.keys for key in self._keys.keys):
            self.lease.until = -math.inf
            self.lease = Lease(0.0)
        self._keys = keys
        self._confirmed = self._now()
        self.lease.until = self._latest()
        self._failures = 0
        self._retry_at = 0.0
        self._error = ""
        self.started = True

    def _fail(self, error: str) -> None:
        if error != self._error:
            _log.warning("keys.unavailable", provider=self._provider, error=error, in_force=self._keys is not None)
        self._error = error
        self._retry_at = self._now() + self._backoff() * (1 - _SPREAD * self._chance())
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
            return max(self._until_retry(), _SHORTEST_PAUSE)
        shortest, longest = REFRESH_BOUNDS
        fresh = REFRESH_INTERVAL if self._max_age is None else min(max(self._max_age, shortest), longest)
        return fresh * (_LATEST - _SPREAD * self._chance())

    def _latest(self) -> float:
        """Until when the keys may be used if they are not confirmed again."""
        return math.inf if isinstance(self._loader, FixedLoader | OwnKeyLoader) else self._confirmed + MAX_STALENESS
