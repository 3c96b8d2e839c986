"""How revocations of all replicas reach this process: the store is asked again and again for what is new.

Every quarter of a second, so a revocation that was acknowledged anywhere is in force everywhere well within a second. Those
of this process are in force before they are acknowledged (``RevokingStore``). While the store can't be read the list holds
for as long as it is believed, and then own tokens are refused with 503, never let through.

A store whose epoch is another one has lost what it kept: it was emptied, or an old copy was put back. That is an alarm, for
clients and refresh tokens are lost as well; the revocations that this process still knows are put back into it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from extauthz.errors import StoreError
from extauthz.tokens.records import Revocation, RevocationPage
from extauthz.tokens.revocation_list import RevocationList

__all__ = ["FeedState", "RevocationFeed", "RevocationSource"]

_log = structlog.get_logger(__name__)

_INTERVAL: Final = 0.25
_SPREAD: Final = 0.2
"""Replicas that were started together don't ask together."""
_LONGEST: Final = 30.0
"""Seconds after which a store is given up that does not even say that it is down; the first reading may be a long one."""
_PART: Final = 1000
"""Revocations that are taken, forgotten or put back before others have their turn."""
_TOLD: Final = 3600.0
"""Seconds for which a loss is told in readiness."""


class RevocationSource(Protocol):
    """The part of ``extauthz.tokens.ports.TokenStore`` that is asked here."""

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor."""
        ...

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations."""
        ...


@dataclass(frozen=True, slots=True)
class FeedState:
    """How it is doing."""

    held: int
    """Revocations in force."""
    age: float | None
    """Seconds since they were read; None if they never were."""
    error: str
    """What went wrong last; empty if the last reading went well. Holds no secret."""
    losses: int
    """How often the store had lost what it kept."""
    lost: bool
    """Whether that was within the last hour."""
    believed: bool
    """Whether tokens can be judged by them."""

    @property
    def well(self) -> bool:
        """Whether nobody has to look after it."""
        return self.believed and not self.error and not self.lost

    @property
    def sentence(self) -> str:
        """How it is, for people."""
        if self.age is None:
            return f"not read yet: own tokens are refused{': ' if self.error else ''}{self.error}"
        told = f"in force, read {self.age:.0f} s ago"
        if not self.believed:
            told = f"read {self.age:.0f} s ago, which is too long: own tokens are refused"
        if self.lost:
            told += "; the store had lost its records, what is known here was put back: clients and sessions are to be checked"
        return f"{told}; {self.error}, tried again within {_INTERVAL * (1 + _SPREAD):g} s" if self.error else told


class RevocationFeed:
    """Keeps a list current. Belongs to one event loop."""

    def __init__(
        self,
        store: RevocationSource,
        known: RevocationList,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = lambda: 0.5,
        max_staleness: float,
    ) -> None:
        """Nothing is read yet: ``run`` or ``look`` does. ``now`` gives seconds since the epoch, ``chance`` is in [0, 1)."""
        self._store = store
        self._known = known
        self._now = now
        self._sleep = sleep
        self._chance = chance
        self._max_staleness = max_staleness
        self._cursor = self._epoch = ""
        self._read_at: float | None = None
        self._error = ""
        self._losses = 0
        self._lost_at: float | None = None
        self._owed: list[Revocation] = []
        """What is to be put back into a store that has lost it."""

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.look()
            await self._sleep(_INTERVAL * (1 + _SPREAD * (self._chance() * 2 - 1)))

    async def look(self) -> None:
        """Read once. Raises nothing: what fails is told, and tried again."""
        asked = self._now()
        try:
            async with asyncio.timeout(_LONGEST):
                page = await self._store.revocations(self._cursor, self._epoch)
            await self._take(page)
        except TimeoutError:
            self._fail(f"the store did not answer within {_LONGEST:g} s")
            return
        except StoreError as error:
            self._fail(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the store must go on being asked
            _log.error("revocations.fault", fault=type(error).__name__)
            self._fail(f"unexpected fault: {type(error).__name__}")
            return
        # What was revoked while the store answered may be missing: the list is as old as the question.
        self._known.confirmed(asked)
        self._read_at = asked
        if self._error:
            _log.info("revocations.read_again", held=len(self._known))
        self._error = ""
        self._known.forget(self._now(), most=_PART)
        await self._put_back()

    async def _take(self, page: RevocationPage) -> None:
        if self._epoch and page.epoch != self._epoch:
            self._losses += 1
            self._lost_at = self._now()
            self._owed = list(self._known.everything())
            _log.error("revocations.store_lost_records", known=len(self._owed))
        for start in range(0, len(page.revocations), _PART):
            self._known.add(page.revocations[start : start + _PART])
            await asyncio.sleep(0)
        self._cursor, self._epoch = page.cursor, page.epoch

    async def _put_back(self) -> None:
        while self._owed:
            part = self._owed[-_PART:]
            try:
                async with asyncio.timeout(_LONGEST):
                    await self._store.revoke(part)
            except (StoreError, TimeoutError) as error:
                self._fail(f"what the store has lost could not be put back: {error}")
                return
            del self._owed[-_PART:]

    def _fail(self, error: str) -> None:
        if error != self._error:
            _log.warning("revocations.unavailable", error=error, held=len(self._known))
        self._error = error

    def state(self) -> FeedState:
        """How it is doing."""
        now = self._now()
        age = None if self._read_at is None else max(now - self._read_at, 0.0)
        lost = self._lost_at is not None and now - self._lost_at < _TOLD
        believed = age is not None and age < self._max_staleness
        return FeedState(len(self._known), age, self._error, self._losses, lost, believed)
