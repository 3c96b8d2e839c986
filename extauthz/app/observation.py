"""What is told of Checks: the configuration as the settings of telemetry, and who times them, when."""

import asyncio
import time
from typing import Final

from extauthz.app.providers import credential_places
from extauthz.check import Authenticator, Check
from extauthz.config import Config
from extauthz.limits import Limiter
from extauthz.serving import Readiness
from extauthz.telemetry import Activity, DecisionSettings, Phases, Rotation, Telemetry, TraceSettings

__all__ = ["PhaseWatch", "decision_settings", "report_log", "trace_settings"]

_LOOK_AT_LOG: Final = 0.5
"""Seconds between looks at the decision log, for readiness."""
_LOOK: Final = 5.0
"""Seconds between looks whether somebody still looks."""


def trace_settings(config: Config) -> TraceSettings:
    """Where spans go."""
    traces = config.telemetry.traces
    return TraceSettings(traces.exporter, traces.denials)


def decision_settings(config: Config) -> DecisionSettings:
    """Where records go."""
    decisions = config.telemetry.decisions
    rotate = decisions.rotate
    return DecisionSettings(
        decisions.sink,
        rotation=None if rotate is None else Rotation(rotate.max_bytes, rotate.keep),
        keep=decisions.when_full == "wait",
        capture=credential_places(config) if decisions.capture else None,
        allow=decisions.sample.allow,
        deny=decisions.sample.deny,
        omit=decisions.omit,
    )


async def report_log(telemetry: Telemetry, readiness: Readiness) -> None:
    """Tell readiness how the decision log is, if there is one, as long as the server runs."""
    while (state := telemetry.log_state) is not None:
        ok, text = state
        readiness.part_told("decision log", ok=ok, text=text)
        await asyncio.sleep(_LOOK_AT_LOG)
    await asyncio.Event().wait()


class PhaseWatch:
    """Has Checks timed by their phases as far as somebody reads that: records, spans, or a person at ``top``."""

    def __init__(
        self,
        check: Check,
        authenticator: Authenticator,
        limiter: Limiter,
        telemetry: Telemetry,
        activity: Activity | None,
    ) -> None:
        """Begin, if telemetry reads it. The authenticator and the limiter are those of the check."""
        self._check = check
        self._parts = authenticator, limiter
        self._phases = Phases(time.monotonic)  # one for all times: Checks that wait while it changes keep their marks
        self._telemetry = telemetry
        self._activity = activity
        self._looked_at = False
        self._time()

    def look(self) -> bytes:
        """What goes on, for somebody who looks, and will look again."""
        if not self._looked_at:
            self._looked_at = True
            self._time()
        return b"" if self._activity is None else self._activity.told()

    async def run(self) -> None:
        """See when nobody looks any more."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._looked_at and (self._activity is None or not self._activity.watched):
                self._looked_at = False
                self._time()

    def _time(self) -> None:
        """Time what is read now."""
        authenticator, limiter = self._parts
        telemetry, looked_at = self._telemetry, self._looked_at
        if not (looked_at or telemetry.reads_phases or telemetry.traces):
            self._check.ask(authenticator, limiter)
            telemetry.time(None)
            return
        phases = self._phases
        self._check.ask(phases.authenticator(authenticator), phases.limiter(limiter))
        telemetry.time(phases, every=looked_at or telemetry.reads_phases, looked_at=looked_at)
