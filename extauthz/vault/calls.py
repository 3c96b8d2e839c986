"""Vault as the event loop sees it: questions in threads of their own, bounded in number and time, none to a dead server.

hvac blocks, so each question runs in one of a few threads, and waits for one no longer than for an answer. After three
questions in a row without an answer nobody else is made to wait: they are refused at once until a probe, which is nobody's
question, finds Vault well again. So a signature costs a token request a few milliseconds, two seconds at most, or nothing.

``run`` keeps the session alive and probes. Without it (a command that reads one secret) all works, for as long as the token
does.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import hvac
import structlog

from extauthz.errors import VaultError
from extauthz.limits.breaker import Breaker
from extauthz.vault.client import UNWELL, VaultClient
from extauthz.vault.login import Doorman
from extauthz.vault.secrets import Secret, read_secret
from extauthz.vault.session import Session
from extauthz.vault.settings import VaultSettings

__all__ = ["Vault", "VaultCounts", "VaultState"]

_log = structlog.get_logger()

_T = TypeVar("_T")
_THREADS: Final = 8
_MOST: Final = 64
"""Questions under way or waiting for a thread."""
_LONGEST_SLEEP: Final = 3600.0
_CLOCK_SLACK: Final = 30.0
"""Seconds that Vault's clock may be from ours before people are told."""


@dataclass(frozen=True, slots=True)
class VaultCounts:
    """What has happened so far, for metrics."""

    questions: int
    failures: int
    """Questions without an answer, those that were not even asked included."""
    logins: int
    renewals: int
    login_failures: int
    available: bool = False
    """It is asked now, and knows who we are."""
    token_seconds: float | None = None
    """For how long our token lasts; None if there is none, or it never ends."""
    skew: float = 0.0
    """How far its clock is ahead of ours, in seconds."""


@dataclass(frozen=True, slots=True)
class VaultState:
    """How Vault is, for readiness."""

    ok: bool
    text: str


class Vault:
    """One Vault or OpenBao, and who we are to it."""

    def __init__(
        self,
        settings: VaultSettings,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing is connected yet. ``clock`` is monotonic, ``now`` the time of day; both in seconds."""
        self.settings = settings
        client = VaultClient(settings)
        self._client = client
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self.session = Session(client, Doorman(client, settings.login), clock=clock)
        self._threads: ThreadPoolExecutor | None = None
        self._breaker: Breaker | None = None
        self._under_way = 0
        self._questions = self._failures = 0
        self._answered_at = -math.inf
        self._skew = 0.0

    async def call(self, question: Callable[[hvac.Client], _T]) -> _T:
        """The answer to a question, asked in a thread, within the time of the settings.

        Raises:
            VaultError: There is none, or it is a refusal.
        """
        return await self._counted(lambda: self.session.ask(question))

    async def read(self, path: str) -> Secret:
        """A secret of whatever engine. Raises VaultError; its status is 404 if there is none."""
        return await self._counted(lambda: read_secret(self.session, path))

    async def _counted(self, work: Callable[[], _T]) -> _T:
        breaker = self._breaker_of_loop()
        self._questions += 1
        if not breaker.closed:
            self._failures += 1
            raise VaultError(f"not asked, since it does not answer: {breaker.error}")
        if self._under_way >= _MOST:
            self._failures += 1
            raise VaultError(f"not asked, since {_MOST} questions are under way")
        try:
            answer = await self._in_thread(work)
        except VaultError as error:
            if self._is_refusal(error):
                breaker.succeeded()
                self._answered_at = self._clock()
            else:
                self._failures += 1
                breaker.failed(str(error))
            raise
        breaker.succeeded()
        self._answered_at = self._clock()
        return answer

    async def run(self) -> None:
        """Keep the session alive, and look whether Vault is well, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_logged_in(), name="vault session")
            group.create_task(self._probe(), name="vault probe")

    async def close(self) -> None:
        """Give the token back, and let go of the threads. What was lent with it must have been given back before."""
        try:
            await self._in_thread(self.session.close)
        except VaultError as error:
            _log.warning("the token of vault was not revoked, it ends by itself", problem=str(error))
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def counts(self) -> VaultCounts:
        """What has happened so far."""
        session, breaker = self.session, self._breaker
        done, left = session.counts, session.ends - self._clock()
        return VaultCounts(
            self._questions,
            self._failures,
            done.logins,
            done.renewals,
            done.failures,
            available=bool(session.generation) and not session.error and (breaker is None or breaker.closed),
            token_seconds=max(left, 0.0) if math.isfinite(left) else None,
            skew=self._skew,
        )

    def state(self) -> VaultState:
        """How Vault is, how old that is, and what comes next."""
        now = self._clock()
        breaker = self._breaker
        answered = f"last answer {_ago(now - self._answered_at)}" if self._answered_at > -math.inf else "no answer yet"
        if breaker is not None and not breaker.closed:
            wait = max(breaker.next_probe - now, 0.0)
            text = f"{breaker.error}; for {now - breaker.since:.0f} s, {answered}, asked again in {wait:.1f} s"
            return VaultState(ok=False, text=text)
        error = self.session.error or (breaker.error if breaker is not None else "")
        if error:
            again = max(self.session.due - now, 0.0)
            return VaultState(ok=False, text=f"{error}; {answered}, the token is renewed in {again:.0f} s")
        if self.session.generation == 0:
            return VaultState(ok=False, text="not logged in yet")
        left = self.session.ends - now
        token = "the token never ends" if left == math.inf else f"the token ends in {max(left, 0):.0f} s"
        if abs(self._skew) > _CLOCK_SLACK:
            where = "ahead of" if self._skew > 0 else "behind"
            clocks = f"its clock is {abs(self._skew):.0f} s {where} ours: ages of keys are wrong by as much"
            return VaultState(ok=False, text=f"{clocks}; {token}, {answered}")
        return VaultState(ok=True, text=f"{token}, {answered}")

    async def _stay_logged_in(self) -> None:
        while True:
            wait = self.session.due - self._clock()
            if wait > 0:
                await self._sleep(min(wait, _LONGEST_SLEEP))
                continue
            before = self.session.error
            try:
                await self._in_thread(self.session.renew, patient=True)
            except VaultError as error:
                if str(error) != before:
                    _log.error("vault: the token could not be had or renewed, trying again", problem=str(error))
            else:
                if before:
                    _log.info("vault: logged in again")

    async def _probe(self) -> None:
        breaker = self._breaker_of_loop()
        while True:
            was_closed = breaker.closed
            try:
                told = await self._in_thread(lambda: self._client.ask(_health, ""), patient=True)
                await self._in_thread(lambda: self.session.ask(_lookup), patient=True)
            except VaultError as error:
                if self._is_refusal(error):
                    breaker.probe_succeeded()  # of a token that may not even look at itself
                else:
                    breaker.probe_failed(str(error))
                    if was_closed:
                        _log.error("vault does not answer, nothing is asked until it does", problem=str(error))
            else:
                breaker.probe_succeeded()
                self._answered_at = self._clock()
                self._skew = told - self._now() if told is not None else 0.0
            if breaker.closed and not was_closed:
                _log.info("vault answers again")
            await breaker.until_next_probe()

    def _is_refusal(self, error: VaultError) -> bool:
        """Whether it is about the question, and Vault and our login are well."""
        return bool(error.status) and error.status not in UNWELL and not self.session.error

    def _breaker_of_loop(self) -> Breaker:
        """Made late: it belongs to the event loop, and this object may be older."""
        if self._breaker is None:
            self._breaker = Breaker(self._clock)
        return self._breaker

    async def _in_thread(self, work: Callable[[], _T], *, patient: bool = False) -> _T:
        """Do something that blocks. ``patient``: it may be several questions, and is waited for as long as it takes."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault")
        self._under_way += 1
        future = self._threads.submit(work)
        loop = asyncio.get_running_loop()
        # When the thread is free again, which may be later than the one who asked stops waiting.
        future.add_done_callback(lambda _: _on_loop(loop, self._done))
        seconds = self.settings.timeout
        try:
            async with asyncio.timeout(None if patient else seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise VaultError(f"{self.settings.address}: no answer within {seconds:g} s") from None

    def _done(self) -> None:
        self._under_way -= 1


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


def _health(client: hvac.Client) -> float | None:
    """The time on Vault's clock; None if it does not say. That a standby answers in its own way is no fault."""
    answer: Any = client.adapter.get("/v1/sys/health?standbyok=true&perfstandbyok=true")
    told = answer.get("server_time_utc") if isinstance(answer, dict) else None
    return float(told) if isinstance(told, int | float) else None


def _lookup(client: hvac.Client) -> None:
    client.auth.token.lookup_self()


def _ago(seconds: float) -> str:
    return "just now" if seconds < 1 else f"{seconds:.0f} s ago"
