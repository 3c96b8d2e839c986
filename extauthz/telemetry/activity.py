"""What is going on, for somebody at a terminal: how often each rule decided, and the last denials.

Metrics can't tell these: a series for each rule is more than Prometheus should keep, and one for each denial is none. So
they are kept here, bounded, and are read by ``extauthz top`` from the admin listener.

A denial is kept as its decision record, as which it says nothing that a log may not say, and holds no request. Making one
takes several microseconds, so under a flood of denials only some are kept.

Where the time of Checks goes is timed while somebody looks: from one look on, for the time that the next one may take.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from extauthz.model import Allow, AttributeContext, Decision
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.taken import PHASES, Taken

__all__ = ["Activity", "merged_activity"]

_RULES: Final = 50_000
"""Names of rules, those of policies that left included; with more of them counting begins anew."""
_TOLD_RULES: Final = 100
_DENIALS: Final = 50
_PAUSE: Final = 0.05
"""Seconds between two denials that are kept."""
_PATIENCE: Final = 30.0
"""Seconds after which nobody looks any more."""


class Activity:
    """Counts for one process. Only the thread that answers Checks writes."""

    def __init__(self, *, now: Callable[[], float], clock: Callable[[], float], omit: tuple[str, ...] = ()) -> None:
        """Begin with nothing. ``now`` is seconds since the epoch, ``clock`` monotonic seconds, ``omit`` as for records."""
        self._omit = omit
        self._now = now
        self._clock = clock
        self._rules: dict[tuple[str, str], int] = {}
        self._denials: deque[bytes] = deque(maxlen=_DENIALS)
        self._next = 0.0
        self._phases = [0.0] * len(PHASES)
        self._timed = 0
        self._seen = float("-inf")

    @property
    def watched(self) -> bool:
        """Whether somebody looked a moment ago."""
        return self._clock() - self._seen < _PATIENCE

    def decided(
        self, decision: Decision, sent: AttributeContext | None, seconds: float, taken: Taken | None = None
    ) -> None:
        """A Check was answered with this decision, which took these ``seconds``, ``taken`` by its phases if it was timed."""
        if taken is not None:
            self._timed += 1
            for index, part in enumerate(taken.seconds):
                self._phases[index] += part
        verdict = decision.verdict
        name = verdict.policy, verdict.rule
        rules = self._rules
        count = rules.get(name)
        if count is None:
            if len(rules) >= _RULES:
                rules.clear()
            count = 0
        rules[name] = count + 1
        if not isinstance(verdict, Allow):
            self._denied(decision, sent, seconds)

    def _denied(self, decision: Decision, sent: AttributeContext | None, seconds: float) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PAUSE
        self._denials.append(
            decision_line(decision, sent, now=self._now(), seconds=seconds, trace=None, omit=self._omit)
        )

    def told(self) -> bytes:
        """The busiest rules, the last denials, newest first, and what the phases of timed Checks took, as JSON."""
        self._seen = self._clock()
        rules = sorted(self._rules.items(), key=lambda entry: -entry[1])
        return _written(
            ({"policy": policy, "rule": rule, "checks": count} for (policy, rule), count in rules if policy),
            map(json.loads, reversed(self._denials)),
            (self._timed, self._phases),
        )


def merged_activity(texts: Iterable[bytes]) -> bytes:
    """What several processes told, as that of one."""
    rules: dict[tuple[str, str], int] = {}
    denials: list[Any] = []
    timed, phases = 0, [0.0] * len(PHASES)
    for text in texts:
        try:
            told = json.loads(text)
            counted = [((entry["policy"], entry["rule"]), entry["checks"]) for entry in told["rules"]]
            denied = list(told["denials"])
            parts = [float(told["phases"]["seconds"][name]) for name in PHASES]
            checks = int(told["phases"]["checks"])
        except (ValueError, KeyError, TypeError):
            continue  # a process that is about to start or to stop says something else
        denials += denied
        timed += checks
        phases = [whole + part for whole, part in zip(phases, parts, strict=True)]
        for name, count in counted:
            rules[name] = rules.get(name, 0) + count
    busiest = sorted(rules.items(), key=lambda entry: -entry[1])
    denials.sort(key=lambda record: str(record["time"]), reverse=True)
    rows = ({"policy": policy, "rule": rule, "checks": count} for (policy, rule), count in busiest)
    return _written(rows, denials, (timed, phases))


def _written(rules: Iterable[dict[str, Any]], denials: Iterable[Any], timed: tuple[int, list[float]]) -> bytes:
    told = {
        "rules": list(rules)[:_TOLD_RULES],
        "denials": list(denials)[:_DENIALS],
        "phases": {"checks": timed[0], "seconds": dict(zip(PHASES, timed[1], strict=True))},
    }
    return json.dumps(told).encode()
