"""Envoy's OpenTelemetry tracer: the trace that extauthz and the upstream join.

Model: a sampled request gets a server span, a client span for the Check and one for the upstream call; the trace
context travels in the Check's RPC metadata and in the forwarded request. A collector that is away costs the spans and
nothing else.

Trade-off: the decision to sample is Envoy's alone for requests that arrive without a trace context
(`sampling_percent`; 1 % unless asked otherwise). A client's own context is honoured, as W3C asks, so a client can have
its requests traced; at an untrusted edge remove `traceparent` next to the identity headers if that is unwanted.
"""

from __future__ import annotations

from datetime import timedelta

import envoy_data_plane.envoy.config.core.v3 as core
import envoy_data_plane.envoy.config.trace.v3 as trace
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm
import envoy_data_plane.envoy.type.v3 as types

from mesh.envoy.endpoints import COLLECTOR, packed
from mesh.options import Tracing

SERVICE_NAME = "envoy"


def tracing(options: Tracing) -> hcm.HttpConnectionManagerTracing:
    """The connection manager's tracing block, exporting OTLP over gRPC to the collector's cluster."""
    exporter = trace.OpenTelemetryConfig(
        service_name=SERVICE_NAME,
        grpc_service=core.GrpcService(
            envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=COLLECTOR), timeout=timedelta(seconds=1)
        ),
    )
    return hcm.HttpConnectionManagerTracing(
        random_sampling=types.Percent(value=options.sampling_percent),
        # The x-client-trace-id header must not be a way to have everything traced.
        client_sampling=types.Percent(value=0.0),
        spawn_upstream_span=True,
        provider=trace.TracingHttp(name="envoy.tracers.opentelemetry", typed_config=packed(exporter)),
    )
