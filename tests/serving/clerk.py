"""Who answers what an http listener is asked, and a client that asks it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from extauthz.tokens.http import HttpAnswer, HttpQuestion

Begin = Callable[..., Awaitable[str]]

JSON = (("content-type", "application/json"),)


class Clerk:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[HttpQuestion] = []
        self.answer: HttpAnswer | Exception = HttpAnswer(200, JSON, b'{"fine": true}')
        self.free = asyncio.Event()
        self.free.set()
        self.done = 0

    async def __call__(self, question: HttpQuestion) -> HttpAnswer:
        self.asked.append(question)
        await self.free.wait()
        self.done += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def ask(url: str, method: str = "GET", **more: Any) -> Any:
    client = {key: more.pop(key) for key in ("verify", "transport") if key in more}
    async with httpx2.AsyncClient(**client) as opened:
        return await opened.request(method, url, **more)
