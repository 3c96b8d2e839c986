"""What a running server tells: traces, metrics, decision records, logs.

``Telemetry`` is what the serving handler sees. ``logs.configure`` stands by itself and is called first.
"""

from extauthz.telemetry.activity import Activity, merged_activity
from extauthz.telemetry.exposition import Samples, read_samples
from extauthz.telemetry.logs import configure as configure_logs
from extauthz.telemetry.logs import toggle_debug
from extauthz.telemetry.merging import MergedMetrics
from extauthz.telemetry.metrics import LoadOutcome, Metrics, ProviderState
from extauthz.telemetry.observer import Telemetry, open_telemetry
from extauthz.telemetry.settings import DecisionSettings, TraceSettings

__all__ = [
    "Activity",
    "DecisionSettings",
    "LoadOutcome",
    "MergedMetrics",
    "Metrics",
    "ProviderState",
    "Samples",
    "Telemetry",
    "TraceSettings",
    "configure_logs",
    "merged_activity",
    "open_telemetry",
    "read_samples",
    "toggle_debug",
]
