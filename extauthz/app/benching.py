"""A server under load: what it answers, how often, how fast, and what that costs it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from extauthz.model import AttributeContext
from extauthz.serving import CHECK_METHOD, ask_once
from extauthz.wire import Answer, encode_check, read_answer
from extauthz.workbench.load import Load, Measure, cpu_seconds, h2load

__all__ = ["Benched", "Run", "bench"]

_PATIENCE = 5.0
"""Seconds that the first Check gets, for which a server may have to fetch keys."""
_WARM_UP = 2_000
_HALF_SECONDS = 10
"""How long half of the load is sent by the clock."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the generator."""

    name: str
    measure: Measure
    cpu: float | None
    """Microseconds of CPU of the server for a Check; None if nobody said which process it is."""


@dataclass(frozen=True, slots=True)
class Benched:
    """What was found."""

    answer: Answer
    runs: tuple[Run, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "answer": {"allowed": self.answer.allowed, "status": self.answer.status},
            "runs": [{"name": run.name, "cpu_us": run.cpu, **asdict(run.measure)} for run in self.runs],
        }


def bench(
    address: str,
    sent: AttributeContext,
    load: Load,
    *,
    pid: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Benched:
    """Ask a server the same Check over and over: as fast as it answers and then half as often by the clock, or at a rate.

    ``address`` is ``host:port`` or ``unix:/path``, in plaintext; ``pid`` is the server's process, whose CPU is told.

    Raises:
        ExtAuthzError: The server does not answer, h2load is not there, or there is no such process.

    """
    message = encode_check(sent)
    if pid is not None:
        cpu_seconds(pid)
    answer = read_answer(asyncio.run(ask_once(address, message, timeout=_PATIENCE)))
    progress("warming up")
    h2load(address, CHECK_METHOD, replace(load, requests=_WARM_UP, rate=0), message=message)
    if load.rate:
        name = f"{load.rate:,.0f} a second, by the clock"
        progress(name)
        return Benched(answer, (_run(name, address, message, load, pid),))
    name = "as fast as it answers"
    progress(name)
    full = _run(name, address, message, load, pid)
    half = max(1.0, full.measure.per_second / 2)
    name = "half of that, by the clock"
    progress(name)
    often = min(load.requests, int(half * _HALF_SECONDS) + 1)
    calm = _run(name, address, message, replace(load, rate=half, requests=often), pid)
    return Benched(answer, (full, calm))


def _run(name: str, address: str, message: bytes, load: Load, pid: int | None) -> Run:
    before = cpu_seconds(pid) if pid is not None else 0.0
    measure = h2load(address, CHECK_METHOD, load, message=message)
    cpu = None if pid is None else (cpu_seconds(pid) - before) / measure.done * 1e6
    return Run(name, measure, cpu)
