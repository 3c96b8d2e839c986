"""What a running server tells: traces, metrics, decision records, logs.

``Telemetry`` is what the serving handler sees. ``configure_logs`` stands by itself and is called first.
"""

from typing import TYPE_CHECKING

from extauthz.face import face
from extauthz.telemetry.audit_key import audit_key
from extauthz.telemetry.audit_lines import AuditKey
from extauthz.telemetry.audit_reading import AuditReport, audit_lines, check_audit

if TYPE_CHECKING:
    from extauthz.telemetry.activity import Activity, merged_activity
    from extauthz.telemetry.agent_metrics import AgentMetrics
    from extauthz.telemetry.audit import AuditFile
    from extauthz.telemetry.audit_series import AuditCounts
    from extauthz.telemetry.exposition import Samples, read_samples
    from extauthz.telemetry.http_requests import HttpRequests
    from extauthz.telemetry.identity_series import ProviderState
    from extauthz.telemetry.logs import configure_logs, toggle_debug
    from extauthz.telemetry.merging import MergedMetrics
    from extauthz.telemetry.metrics import LoadOutcome, Metrics
    from extauthz.telemetry.observer import Telemetry
    from extauthz.telemetry.opening import open_telemetry
    from extauthz.telemetry.phases import Phases
    from extauthz.telemetry.revocation_series import RevocationCounts
    from extauthz.telemetry.settings import DecisionSettings, Rotation, TraceSettings
    from extauthz.telemetry.token_waits import TimedSigner, TimedStore, TokenWaits

__all__ = [
    "Activity",
    "AgentMetrics",
    "AuditCounts",
    "AuditFile",
    "AuditKey",
    "AuditReport",
    "DecisionSettings",
    "HttpRequests",
    "LoadOutcome",
    "MergedMetrics",
    "Metrics",
    "Phases",
    "ProviderState",
    "RevocationCounts",
    "Rotation",
    "Samples",
    "Telemetry",
    "TimedSigner",
    "TimedStore",
    "TokenWaits",
    "TraceSettings",
    "audit_key",
    "audit_lines",
    "check_audit",
    "configure_logs",
    "merged_activity",
    "open_telemetry",
    "read_samples",
    "toggle_debug",
]

if not TYPE_CHECKING:
    __getattr__ = face(
        __name__,
        {
            "activity": "Activity merged_activity",
            "agent_metrics": "AgentMetrics",
            "audit": "AuditFile",
            "audit_series": "AuditCounts",
            "exposition": "Samples read_samples",
            "http_requests": "HttpRequests",
            "identity_series": "ProviderState",
            "logs": "configure_logs toggle_debug",
            "merging": "MergedMetrics",
            "metrics": "LoadOutcome Metrics",
            "observer": "Telemetry",
            "opening": "open_telemetry",
            "phases": "Phases",
            "revocation_series": "RevocationCounts",
            "settings": "DecisionSettings Rotation TraceSettings",
            "token_waits": "TimedSigner TimedStore TokenWaits",
        },
    )
