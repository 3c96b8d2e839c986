"""The access log: one JSON object a request, with the authorization server's reason in it.

Model: extauthz puts `reason`, `policy`, `rule`, `subject` and `decision_id` into dynamic metadata on every answer, so
the proxy's own log can say why a request was denied without the client being told. `details` names the cases in which
nobody was asked: Envoy refused the request itself.

Trade-off: the path is logged without its query, because queries carry tokens. Request headers are not logged at all,
except the request id.
"""

from __future__ import annotations

from typing import Any as Json

import envoy_data_plane.envoy.config.accesslog.v3 as accesslog
import envoy_data_plane.envoy.config.core.v3 as core
import envoy_data_plane.envoy.extensions.access_loggers.file.v3 as file_log
import envoy_data_plane.envoy.extensions.access_loggers.stream.v3 as stream_log
from envoy_data_plane.google.protobuf import Struct

from mesh.envoy.endpoints import packed

METADATA = "envoy.filters.http.ext_authz"


def _decided(field: str) -> str:
    return f"%DYNAMIC_METADATA({METADATA}:{field})%"


FIELDS: dict[str, Json] = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "upstream": "%UPSTREAM_CLUSTER%",
    "authz": {
        "reason": _decided("reason"),
        "policy": _decided("policy"),
        "rule": _decided("rule"),
        "subject": _decided("subject"),
        "decision_id": _decided("decision_id"),
        "duration_ms": _decided("ext_authz_duration"),
    },
}


def access_log(path: str | None) -> accesslog.AccessLog:
    """A JSON access log to a file, or to standard output."""
    json_lines = core.SubstitutionFormatString(json_format=Struct.from_dict(FIELDS), omit_empty_values=True)
    if path is None:
        config = packed(stream_log.StdoutAccessLog(log_format=json_lines))
        return accesslog.AccessLog(name="envoy.access_loggers.stdout", typed_config=config)
    config = packed(file_log.FileAccessLog(path=path, log_format=json_lines))
    return accesslog.AccessLog(name="envoy.access_loggers.file", typed_config=config)
