"""The supervisor's renewals of its workers."""

import asyncio
import os
from typing import Any

import pytest

from extauthz.serving.listener import Listener, UnixAddress
from extauthz.serving.supervisor import Supervisor, SupervisorParts


async def test_what_changes_during_a_renewal_makes_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers that were renewed first know nothing of it. Any number of changes meanwhile make one."""
    nothing: Any = None
    parts = SupervisorParts(
        workers=2,
        command=lambda _: (),
        admin=Listener(UnixAddress("unused")),
        http=None,
        figures=nothing,
        activities=lambda _: b"",
        toggle_debug=lambda: None,
        check_configuration=lambda: None,
        settle_seconds=0.0,
        stop_seconds=0.0,
    )
    supervisor = Supervisor(parts)
    renewals = 0
    gate = asyncio.Event()

    async def renew() -> None:
        nonlocal renewals
        renewals += 1
        await gate.wait()

    monkeypatch.setattr(supervisor, "_renew", renew)
    supervisor.renew()
    await asyncio.sleep(0)
    for _ in range(3):
        supervisor.renew()
    gate.set()
    assert supervisor._renewal is not None
    await supervisor._renewal
    assert renewals == 2
    supervisor._folder.cleanup()
    os.close(supervisor._reading)
    os.close(supervisor._lifeline)
