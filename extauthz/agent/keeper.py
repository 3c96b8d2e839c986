"""The loop that keeps a token: ask, write, wait for two thirds of its life, ask again.

Lives are counted by a clock that never jumps and goes on while the machine sleeps. The clock of the wall decides nothing
but what is left of a token that an agent before us has written, since its end is written in it.

If a new token can't be had, the old one stays until it ends; then it is removed. A token that has ended opens nothing, and
where it lies on, the workload is refused somewhere else for a reason that looks like its own fault. A file that is not
there is said by the first read, by the probe of the workload and by ours.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog

from extauthz.agent.answers import Issued, Refused, claimed_times
from extauthz.agent.files import StateFile
from extauthz.agent.sources import TokenSource

__all__ = ["HeldToken", "KeeperMetrics", "Outcome", "TokenKeeper"]

_log = structlog.get_logger(__name__)

Outcome = Literal["done", "refused", "failed"]

RENEW_AT = 2 / 3
"""Of its life; a tenth of it earlier at most, so that many agents do not ask in step."""
_JITTER = 0.1
_LEAST = 0.2
"""Seconds between two tokens, however short they live."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
LONGEST_ASKED = 60.0
"""Seconds for which the service may ask for a pause; a rate of its own is over by then."""
_SLICE = 1.0
"""Seconds of one sleep: it is by a clock that stands still while the machine sleeps, and nobody wakes it."""
_SHARE = 3
"""A pause is at most this part of what is left of the token's life, so that more attempts fit into it."""
_SHORT_PAUSE = 3.0
"""Unless that were less: a service that comes back is not met by everybody at once."""


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A token in force."""

    token: str = field(repr=False)
    got: float
    """When it came, by the keeper's clock, as all times here."""
    ends: float


class KeeperMetrics(Protocol):
    """What is counted."""

    def renewed(self, outcome: Outcome) -> None:
        """A token was asked for: done, refused, failed."""
        ...

    def holds(self, lifetime: float | None) -> None:
        """A token is in force for so many seconds from now on; None: there is none."""
        ...

    def not_written(self) -> None:
        """A token could not be written."""
        ...


class TokenKeeper:
    """Keeps one token. Belongs to one event loop."""

    def __init__(
        self,
        source: TokenSource,
        file: StateFile | None,
        metrics: KeeperMetrics,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Nothing is read or asked yet. ``file`` is where the token is kept; None: in memory alone.

        ``clock`` counts seconds and never jumps; ``now`` gives seconds since the epoch; ``chance`` is in [0, 1).
        """
        self._source = source
        self._file = file
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._chance = chance
        self._sleep = sleep
        self._held: HeldToken | None = None
        self._written: HeldToken | None = None
        self._due = 0.0
        self._failures = 0
        self._hurried = False
        self._refused = False
        self._stepping: asyncio.Task[float] | None = None
        self.fault = ""
        """Why the last attempt to have a token and write it failed; empty if it did not."""

    def current(self) -> HeldToken | None:
        """The token, if one is in force now."""
        held = self._held
        return held if held is not None and self._clock() < held.ends else None

    def left(self, held: HeldToken) -> float:
        """The seconds that a token still lives."""
        return held.ends - self._clock()

    @property
    def is_written(self) -> bool:
        """Whether the file, if there is to be one, has the token in force."""
        return self._file is None or self._held is self._written

    def hurry(self) -> None:
        """Renew now: somebody asks for it."""
        self._hurried = True

    async def restore(self) -> None:
        """Go on with the token that an agent before us has written, as long as it lives."""
        if self._file is None:
            return
        try:
            token = await asyncio.to_thread(self._file.read)
        except OSError as error:
            self.fault = f"{self._file.path}: {error.strerror}"
            return
        times = claimed_times(token) if token else None
        now = self._now()
        if token is None or times is None or times[1] <= now:
            return
        left = times[1] - now
        life = max(left, times[1] - times[0]) if times[0] else left
        got = self._clock() - (life - left)
        self._hold(HeldToken(token, got, got + life))
        self._written = self._held
        _log.info("the token of an earlier run is in force", left=round(left))

    async def run(self) -> None:
        """Keep the token until cancelled. A question under way goes on even then, and ``finish`` waits for it."""
        await self.restore()
        while True:
            self._stepping = asyncio.create_task(self.step())
            await self._pause(await asyncio.shield(self._stepping))

    async def finish(self) -> None:
        """Wait until the answer of a question under way is written: a refresh token that came with it is the only one."""
        if self._stepping is not None:
            await asyncio.wait({self._stepping})

    async def until_written(self, patience: float) -> bool:
        """Have a token and write it, once; False if it was refused, or not to be had in so many seconds."""
        deadline = self._clock() + patience
        await self.restore()
        while True:
            wait = await self.step()
            if self.current() is not None and self.is_written:
                return True
            if self._refused or self._clock() + wait > deadline:
                return False
            await self._pause(wait)

    async def step(self) -> float:
        """Do what is due; gives the seconds until something will be."""
        await self._expire()
        if self._clock() >= self._due or self._hurried:
            self._hurried = False
            await self._renew()
        elif not self.is_written or self.fault:
            await self._settle()
        return self._until_next()

    async def _renew(self) -> None:
        held = self.current()
        asked = self._clock()
        answer = await self._source.get("" if held is None else held.token)
        self._refused = isinstance(answer, Refused)
        if isinstance(answer, Issued):
            self._metrics.renewed("done")
            self._failures = 0
            # From the question on, which is the earliest that it can have been issued.
            self._hold(HeldToken(answer.token, asked, asked + answer.lifetime))
            await self._settle()
            if not self.fault:
                _log.info("token renewed", lifetime=round(answer.lifetime))
            return
        self._metrics.renewed("refused" if self._refused else "failed")
        self.fault = answer.fault
        self._failures += 1
        self._due = self._clock() + max(self._back_off(), self._asked_for(answer.retry_after))
        left = None if held is None else round(self.left(held))
        _log.warning("token not renewed", problem=answer.fault, again=round(self._due - self._clock(), 1), left=left)

    def _hold(self, held: HeldToken) -> None:
        self._held = held
        life = held.ends - held.got
        self._due = max(held.got + life * (RENEW_AT - _JITTER * self._chance()), self._clock() + _LEAST)
        self._metrics.holds(held.ends - self._clock())

    async def _settle(self) -> None:
        """Write what has to be written. What can't be is tried again with each step."""
        fault = await self._source.settle()
        held = self._held
        if self._file is not None and held is not None and held is not self._written:
            try:
                await asyncio.to_thread(self._file.write, held.token)
                self._written = held
            except OSError as error:
                fault = fault or f"{self._file.path}: the token can't be written: {error.strerror}"
        if fault:
            self._metrics.not_written()
            if fault != self.fault:
                _log.error("token not written", problem=fault)
        self.fault = fault

    async def _expire(self) -> None:
        """Let go of what has ended."""
        now = self._clock()
        if self._held is not None and now >= self._held.ends:
            self._held = None
            self._metrics.holds(None)
            _log.error("the token has ended, and there is no new one", problem=self.fault)
        if self._file is not None and self._written is not None and now >= self._written.ends:
            try:
                await asyncio.to_thread(self._file.remove)
            except OSError as error:
                self.fault = f"{self._file.path}: the token that has ended can't be removed: {error.strerror}"
                return
            self._written = None

    def _back_off(self) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        held = self.current()
        if held is not None:
            longest = min(longest, max(self.left(held) / _SHARE, _SHORT_PAUSE))
        return longest * (0.5 + self._chance() / 2)

    def _asked_for(self, pause: float) -> float:
        """A pause that the service asks for, a tenth longer at most: not all who were told so come at once."""
        return min(pause, LONGEST_ASKED) * (1 + _JITTER * self._chance())

    def _until_next(self) -> float:
        """Until a token is due, ends, or should be written once more."""
        now = self._clock()
        times = [self._due]
        times += [held.ends for held in (self._held, self._written) if held is not None and held.ends > now]
        if not self.is_written or (self.fault and not self._failures):
            times.append(now + FIRST_PAUSE)
        return max(min(times) - now, 0.0)

    async def _pause(self, wait: float) -> None:
        until = self._clock() + wait
        while (left := until - self._clock()) > 0 and not self._hurried:
            await self._sleep(min(left, _SLICE))
