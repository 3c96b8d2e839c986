"""Decision records as OpenTelemetry's log records, for a collector: the sink ``otlp``.

The body of a log record is the line that a file would get, word for word, so that what a collector wrote to a file can be
replayed; beside it are time, trace and span, and as attributes what one asks for first, under the names that spans have.
An error is only what is one: a denial is what we are for.

Where it goes, and how, is said by OpenTelemetry's own variables. The exporter tries again by itself, for at most
OTEL_EXPORTER_OTLP_TIMEOUT; it does so in the sink's thread, whose queue bounds what waits meanwhile.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from extauthz.model import Reason
from extauthz.telemetry import attributes as names
from extauthz.telemetry.resource import own_resource

__all__ = ["BATCH", "CollectorLogs", "log_exporter"]

BATCH: Final = 256 * 1024
"""Bytes of lines sent at a time: with what is beside them well below the 4 MiB that a collector takes by default."""
EVENT: Final = "extauthz.decision"
"""The name of the event that a log record is."""

_ATTRIBUTES: Final = {
    "decision": names.DECISION,
    "reason": names.REASON,
    "id": names.DECISION_ID,
    "policy": names.POLICY,
    "rule": names.RULE,
    "provider": names.PROVIDER,
    "generation": names.POLICY_GENERATION,
}
_NANOSECONDS: Final = 1_000_000_000
_NOWHERE: Final = set_span_in_context(NonRecordingSpan(SpanContext(0, 0, is_remote=False)), Context())


class CollectorLogs:
    """A ``Target`` of the sink."""

    def __init__(self, exporter: LogRecordExporter, version: str) -> None:
        """Send by ``exporter``, which this closes; ``version`` is that of this program."""
        self._exporter = exporter
        self._resource = own_resource(version)
        self._scope = InstrumentationScope("extauthz", version)

    def write(self, data: bytes) -> int:
        """Send whole lines; all or none of them are taken.

        Raises:
            OSError: They were not.
        """
        batch = [_log_record(line, self._resource, self._scope) for line in data.splitlines() if line]
        if self._exporter.export(batch) is not LogRecordExportResult.SUCCESS:
            raise OSError("the collector did not take them")
        return len(data)

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def log_exporter(protocol: str) -> LogRecordExporter:
    """What speaks to the collector that the ``OTEL_*`` variables name."""
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter

        return HttpLogExporter()
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    return OTLPLogExporter()


def _log_record(line: bytes, resource: Resource, scope: InstrumentationScope) -> ReadableLogRecord:
    record = json.loads(line)
    fault = record["reason"] == Reason.INTERNAL_ERROR.word
    time = int(datetime.fromisoformat(record["time"]).timestamp() * 1000) * (_NANOSECONDS // 1000)
    told = LogRecord(
        timestamp=time,
        observed_timestamp=time,
        context=_context(record),
        severity_text="ERROR" if fault else "INFO",
        severity_number=SeverityNumber.ERROR if fault else SeverityNumber.INFO,
        body=line.decode(),
        attributes={name: record[field] for field, name in _ATTRIBUTES.items() if field in record},
        event_name=EVENT,
    )
    return ReadableLogRecord(told, resource, scope)


def _context(record: Mapping[str, Any]) -> Context:
    if "trace_id" not in record:
        return _NOWHERE
    trace, span = int(record["trace_id"], 16), int(record["span_id"], 16)
    return set_span_in_context(
        NonRecordingSpan(SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))),
        Context(),
    )
