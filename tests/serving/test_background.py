"""Background tasks have an owner."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from extauthz.serving import background
from extauthz.serving.background import keep_running

Eventually = Callable[..., Awaitable[None]]


async def test_a_task_that_fails_is_started_again(eventually: Eventually) -> None:
    """A task that raises, ends or loses what it waits for is logged and runs again; the others are not disturbed."""
    runs: list[str] = []
    alive = asyncio.Event()

    async def fail() -> None:
        runs.append("fail")
        if len(runs) == 1:
            raise RuntimeError("secret")
        if len(runs) == 2:
            return
        if len(runs) == 3:
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    async def live() -> None:
        alive.set()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        task = asyncio.create_task(keep_running({"fail": fail, "live": live}, first_pause=0.001))
        await eventually(lambda: len(runs) == 4)
        assert alive.is_set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [entry["task"] for entry in logs] == ["fail"] * 3
    assert "secret" not in str(logs)
    assert "RuntimeError at test_background.py" in logs[0]["fault"]


async def test_pauses_grow_to_a_limit(eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that can't work is tried less and less often, but always again."""
    monkeypatch.setattr(background, "_LONGEST_PAUSE", 0.004)

    async def fail() -> None:
        raise OSError

    with capture_logs() as logs:
        task = asyncio.create_task(keep_running({"fail": fail}, first_pause=0.001))
        await eventually(lambda: len(logs) >= 5)
        task.cancel()
        await asyncio.wait({task})
    assert [entry["pause"] for entry in logs[:5]] == [0.001, 0.002, 0.004, 0.004, 0.004]


async def test_the_end_waits_for_all() -> None:
    """When the owner is cancelled, each task has ended, its own cleaning up included, before the owner has."""
    ended: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append("tidy")

    task = asyncio.create_task(keep_running({"a": tidy, "b": tidy}))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert ended == ["tidy", "tidy"]
