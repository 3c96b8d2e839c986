"""Clients of a token service and of what it guards, all at once: some get tokens, refresh and revoke them, others use them.

Each use is judged by what was known before it was sent and after it was answered, so that nothing depends on how fast the
machine is: a token that ended in between may have got either answer.
"""

import asyncio
import json
import math
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt

from mesh.replicas import CLIENT, Replicas
from tests.canaries import secret

BOUND = 1.0
"""Seconds within which a revocation is in force everywhere."""
SLACK = 1.0
"""What a busy machine may add."""
KEPT = 4.0
"""Seconds for which tokens that have ended are still tried."""


@dataclass
class Issued:
    """A token, and what its end is known to be."""

    text: str = field(repr=False)
    ends: float
    alone: bool
    """Whether nothing else ends with it."""
    asked: float = math.inf
    """When its revocation was asked for."""
    revoked: float = math.inf
    """When that was acknowledged."""

    def wrong(self, status: int, sent: float, answered: float) -> str:
        """What is wrong with an answer; empty: nothing."""
        if status == 200 and sent > self.ends:
            return "an expired token was allowed"
        if status == 200 and sent > self.revoked + BOUND + SLACK:
            return "a revoked token was allowed"
        if status == 401 and answered < min(self.ends, self.asked):
            return "a valid token was denied"
        return "" if status in {200, 401} else f"answered with {status}"


@dataclass
class TokenLoad:
    """The clients, and what they saw."""

    replicas: Replicas
    urls: Sequence[str]
    """Envoys."""
    pause: float = 0.03
    tokens: deque[Issued] = field(default_factory=deque)
    seen: Counter[str] = field(default_factory=Counter)
    signers: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)
    """When Envoy had no answer from any replica."""

    @asynccontextmanager
    async def running(self, checkers: int = 4) -> AsyncIterator[None]:
        """All of them, until left."""
        limits = httpx2.Limits(keepalive_expiry=1.0)
        async with httpx2.AsyncClient(timeout=10, limits=limits) as http:
            jobs = [
                self._get(http),
                self._refresh(http),
                self._revoke(http),
                *(self._use(http) for _ in range(checkers)),
            ]
            tasks = [asyncio.create_task(job) for job in jobs]
            try:
                yield
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _post(self, http: Any, path: str, form: dict[str, str]) -> dict[str, Any] | None:
        """What any replica answers; None if there is none just now."""
        desks = [replica.desk.url for replica in self.replicas.all]
        for url in random.sample(desks, len(desks)):
            try:
                answer = await http.post(url + path, data=form, auth=(CLIENT, self.replicas.secret))
            except httpx2.TransportError:
                self.seen[f"{path} lost"] += 1
                continue
            if answer.status_code != 503:
                self.seen[f"{path} {answer.status_code}"] += 1
                if answer.status_code != 200:
                    self.faults.append(f"{path}: {answer.text}")
                told: dict[str, Any] = answer.json()
                return told
            self.seen[f"{path} later"] += 1
        return None

    def _keep(self, told: dict[str, Any], *, alone: bool) -> None:
        token = secret(told["access_token"], "an access token")
        secret(told["refresh_token"], "a refresh token")
        self.signers.add(jwt.get_unverified_header(token)["kid"])
        ends = jwt.decode(token, options={"verify_signature": False})["exp"]
        self.tokens.append(Issued(token, ends, alone))
        while self.tokens[0].ends + KEPT < time.time():
            self.tokens.popleft()

    async def _get(self, http: Any) -> None:
        while True:
            told = await self._post(http, "/oauth2/token", {"grant_type": "client_credentials"})
            if told is not None and "access_token" in told:
                self._keep(told, alone=True)
            await asyncio.sleep(self.pause * 4)

    async def _refresh(self, http: Any) -> None:
        """One family from beginning to end: no answer that was lost may end it."""
        refresh = ""
        while True:
            form = {"grant_type": "refresh_token", "refresh_token": refresh}
            told = await self._post(http, "/oauth2/token", form if refresh else {"grant_type": "client_credentials"})
            if told is not None and "access_token" in told:
                self._keep(told, alone=False)
                refresh = told["refresh_token"]
            await asyncio.sleep(self.pause * 4)

    async def _revoke(self, http: Any) -> None:
        while True:
            await asyncio.sleep(self.pause * 8)
            now = time.time()
            good = [token for token in self.tokens if token.alone and token.asked == math.inf and token.ends > now]
            if not good:
                continue
            token = random.choice(good)
            token.asked = time.time()
            told = await self._post(http, "/oauth2/revoke", {"token": token.text})
            if told is not None:
                token.revoked = time.time()

    async def _use(self, http: Any) -> None:
        while True:
            await asyncio.sleep(self.pause)
            if self.tokens:
                await self._used(http, random.choice(self.tokens))

    async def _used(self, http: Any, token: Issued) -> None:
        sent = time.time()
        answer = await http.get(random.choice(self.urls) + "/x", headers={"authorization": f"Bearer {token.text}"})
        answered = time.time()
        if answer.status_code == 503:
            self.unanswered.append(answered)
            self.seen["no answer"] += 1
            return
        if wrong := token.wrong(answer.status_code, sent, answered):
            self.faults.append(f"{wrong}: {json.dumps(answer.text[:300])}")
        kind = "good" if sent < min(token.ends, token.asked) else "expired" if sent > token.ends else "revoked"
        self.seen[f"{kind} {answer.status_code}"] += 1
