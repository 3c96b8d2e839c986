"""Memory of a set of policies, and how long Checks wait while one is reloaded: ``bench.policies`` starts this in processes
of their own and reads the JSON.

    python -m bench.reloading memory plain | memory conditions | waits

The waits are those of a server's event loop: a Check is due every millisecond, and its wait is the time from then to its
answer, so whatever keeps the loop from running counts: the loader's hold on the interpreter, a garbage collection, the
end of the old set. The files change before each reload, so that every one compiles all of the rules.
"""

import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench.policies import some_rules
from bench.policy_shapes import SETTINGS, texts
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.check import Check, RequestRules
from extauthz.model import Decision, Identity, Reason, Request, VerifiedClaims
from extauthz.policy import PolicyText, Snapshot, empty, load
from extauthz.serving import PolicyReloader, Readiness
from extauthz.wire import Encoder, decode
from extauthz.workbench.given import Unused

RULES = 10_000
RELOADS = 3
EVERY = 0.001


class Known:
    """An authenticator that finds the same caller each time."""

    caller = Identity(
        "alice",
        "https://login.example.com/",
        "corporate",
        frozenset({"user"}),
        claims=VerifiedClaims({"tenant": "t5-3"}),
    )

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> Identity:
        """Find the caller."""
        return self.caller

    def peer(self, request: Request, names: frozenset[str]) -> None:
        """Prove nobody."""


def resident() -> float:
    """Megabytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(*, conditions: bool) -> dict[str, float]:
    """What a set takes that is in force, with nothing left of loading it."""
    load(texts(some_rules(100, conditions=conditions)), SETTINGS, 1)
    written = texts(some_rules(RULES, conditions=conditions), in_files=10)
    gc.collect()
    before = resident()
    kept = load(written, SETTINGS, 1)
    gc.collect()
    return {"MB": resident() - before, "policies": len(kept.policies)}


def message() -> bytes:
    """A CheckRequest that a rule in the middle allows."""
    check = CheckRequest()
    http = check.attributes.request.http
    http.method, http.path, http.host = "GET", "/s5/3/4711", "s5.example.com"
    http.scheme, http.protocol = "https", "HTTP/2"
    return check.SerializeToString()


class Waits:
    """Checks that are due every millisecond, and how long each one waits."""

    def __init__(self, check: Check) -> None:
        """Nothing is due yet."""
        self._check = check
        self._encoder = Encoder()
        self._message = message()
        self.waits: list[float] = []

    async def run(self) -> None:
        """Ask until cancelled."""
        due = time.perf_counter()
        while True:
            decision = self._check.decide(decode(self._message))
            if not isinstance(decision, Decision) or decision.verdict.reason is not Reason.ALLOWED:
                raise SystemExit(f"a Check that should be allowed is not: {decision}")
            self._encoder.encode(decision)
            now = time.perf_counter()
            self.waits.append(now - due)
            # What came due meanwhile has waited as well, and is asked at once.
            due = max(due + EVERY, now - 1.0)
            await asyncio.sleep(max(due - time.perf_counter(), 0))

    def taken(self) -> dict[str, float]:
        """The figures since the last time."""
        waits, self.waits = sorted(self.waits), []
        return {
            "median": statistics.median(waits),
            "p999": waits[int(len(waits) * 0.999)],
            "longest": waits[-1],
        }


def write(folder: Path, written: Sequence[PolicyText], number: int) -> None:
    """Put the files there, different from the last time."""
    for text in written:
        (folder / text.file).write_text(f"# {number}\n{text.text}")


async def waits() -> dict[str, float]:
    """The medians, over some reloads, of what Checks wait with and without one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = texts(some_rules(RULES, conditions=True), in_files=10)
        write(folder, written, 0)
        check = Check(Known(), empty(), RequestRules(), limiter=Unused(), new_id=lambda: "d")

        def compiled(found: Sequence[PolicyText], generation: int) -> Snapshot:
            return load(found, SETTINGS, generation)

        def publish(snapshot: Snapshot) -> None:
            check.snapshot = snapshot

        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
        readiness = Readiness()
        reloader = PolicyReloader([name], compiled, publish, readiness, lambda *_: None)
        await reloader.start()
        asking = Waits(check)
        task = asyncio.create_task(asking.run())
        rows: dict[str, list[dict[str, float]]] = {"undisturbed": [], "during a reload": []}
        for number in range(1, RELOADS + 1):
            asking.taken() if asking.waits else None
            await asyncio.sleep(2.0)
            rows["undisturbed"].append(asking.taken())
            await asyncio.to_thread(write, folder, written, number)
            began = time.perf_counter()
            await reloader.reload()
            took = time.perf_counter() - began
            await asyncio.sleep(0.2)
            rows["during a reload"].append(asking.taken() | {"seconds": took})
            if reloader.generation != number + 1:
                raise SystemExit("\n".join(readiness.report()))
        task.cancel()
    figures = {
        f"{name} {what}": statistics.median(row[what] for row in found)
        for name, found in rows.items()
        for what in found[0]
    }
    return figures | {"reloads": float(RELOADS)}


def main() -> None:
    """Print the figures that are asked for as JSON."""
    found = asyncio.run(waits()) if sys.argv[1] == "waits" else memory(conditions=sys.argv[2] == "conditions")
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
