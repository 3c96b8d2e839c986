"""What a running server tells: traces, metrics, decision records, logs.

``Telemetry`` is what the serving handler sees. ``logs.configure`` stands by itself and is called first.
"""

from extauthz.telemetry.logs import configure as configure_logs
from extauthz.telemetry.merging import MergedMetrics
from extauthz.telemetry.metrics import CONTENT_TYPE, LoadOutcome, Metrics, ProviderState
from extauthz.telemetry.observer import Telemetry, open_telemetry
from extauthz.telemetry.settings import DecisionSettings, TraceSettings

__all__ = [
    "CONTENT_TYPE",
    "DecisionSettings",
    "LoadOutcome",
    "MergedMetrics",
    "Metrics",
    "ProviderState",
    "Telemetry",
    "TraceSettings",
    "configure_logs",
    "open_telemetry",
]
