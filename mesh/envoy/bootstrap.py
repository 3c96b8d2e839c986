"""The bootstrap: listeners, clusters and admin put together, as a typed message or as a plain document.

Model: `bootstrap(options)` is typed throughout; `bootstrap_document(options)` is the same as nested dicts in the
snake_case spelling of Envoy's documentation, ready for JSON or YAML. Envoy's own `--mode validate` is the second half
of the type check, because the generated types do not know the value rules.

Trade-off: protobuf's JSON form leaves defaults out, and `failure_mode_allow: false` and a panic threshold of 0 are
defaults. A reader must not have to know that, so `stated_defaults` writes them back: the one place where the document
differs from the message.
"""

from __future__ import annotations

from typing import Any as Json
from typing import TypeAlias

import betterproto2
import envoy_data_plane.envoy.config.bootstrap.v3 as boot
import envoy_data_plane.envoy.config.cluster.v3 as cluster
import envoy_data_plane.envoy.config.core.v3 as core
import envoy_data_plane.envoy.config.listener.v3 as listener
import envoy_data_plane.envoy.config.overload.v3 as overload
import envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 as tls_inspector
import envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 as tcp_proxy
import envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 as connections
from envoy_data_plane.google.protobuf import Struct

from mesh.envoy.connection import connection_manager
from mesh.envoy.endpoints import (
    COLLECTOR,
    GRPC_UPSTREAM,
    HTTP_UPSTREAM,
    TCP_UPSTREAM,
    address_message,
    authz_cluster,
    downstream_tls,
    packed,
    plain_cluster,
)
from mesh.envoy.ext_authz import network_filter
from mesh.options import EnvoyOptions, TcpListener

Document: TypeAlias = dict[str, Json]

MAX_CONNECTIONS = 10_000


def _tls(options: EnvoyOptions) -> core.TransportSocket | None:
    return downstream_tls(options.tls) if options.tls else None


def http_listener(options: EnvoyOptions) -> listener.Listener:
    """The HTTP listener of the edge."""
    manager = listener.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(connection_manager(options))
    )
    return listener.Listener(
        name="http",
        address=address_message(options.listen),
        per_connection_buffer_limit_bytes=32 * 1024,
        listener_filters=_inspectors(options),
        filter_chains=[listener.FilterChain(filters=[manager], transport_socket=_tls(options))],
    )


def _inspectors(options: EnvoyOptions) -> list[listener.ListenerFilter]:
    # The SNI that policies compare with the host is read here.
    if not options.tls:
        return []
    inspector = packed(tls_inspector.TlsInspector())
    return [listener.ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=inspector)]


def tcp_listener(options: EnvoyOptions, tcp: TcpListener) -> listener.Listener:
    """A plain TCP listener behind the network ext_authz filter."""
    proxy = tcp_proxy.TcpProxy(stat_prefix="tcp", cluster=TCP_UPSTREAM)
    forward = listener.Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))
    return listener.Listener(
        name="tcp",
        address=address_message(tcp.listen),
        per_connection_buffer_limit_bytes=32 * 1024,
        listener_filters=_inspectors(options),
        filter_chains=[
            listener.FilterChain(filters=[network_filter(options), forward], transport_socket=_tls(options))
        ],
    )


def clusters(options: EnvoyOptions) -> list[cluster.Cluster]:
    """Everything Envoy connects to."""
    found = [authz_cluster(options), plain_cluster(HTTP_UPSTREAM, options.upstream)]
    if options.grpc_upstream:
        found.append(plain_cluster(GRPC_UPSTREAM, options.grpc_upstream, http2=True))
    if options.tcp:
        found.append(plain_cluster(TCP_UPSTREAM, options.tcp.upstream))
    if options.tracing:
        found.append(plain_cluster(COLLECTOR, options.tracing.collector, http2=True))
    return found


def _prompt_export() -> boot.LayeredRuntime:
    # Envoy keeps spans until it has five of them or five seconds have passed.
    layer = Struct.from_dict({"tracing.opentelemetry.min_flush_spans": 1})
    return boot.LayeredRuntime(layers=[boot.RuntimeLayer(name="prompt-traces", static_layer=layer)])


def bootstrap(options: EnvoyOptions) -> boot.Bootstrap:
    """The typed bootstrap of one Envoy."""
    listeners = [http_listener(options)]
    if options.tcp:
        listeners.append(tcp_listener(options, options.tcp))
    limit = connections.DownstreamConnectionsConfig(max_active_downstream_connections=MAX_CONNECTIONS)
    return boot.Bootstrap(
        node=core.Node(id=options.node, cluster="extauthz-mesh"),
        admin=boot.Admin(address=address_message(options.admin)),
        static_resources=boot.BootstrapStaticResources(listeners=listeners, clusters=clusters(options)),
        layered_runtime=_prompt_export() if options.tracing and options.tracing.prompt else None,
        overload_manager=overload.OverloadManager(
            resource_monitors=[
                overload.ResourceMonitor(
                    name="envoy.resource_monitors.global_downstream_max_connections", typed_config=packed(limit)
                )
            ]
        ),
    )


def document(message: betterproto2.Message) -> Document:
    """A message as nested dicts, in Envoy's own snake_case, with the defaults stated that readers look for."""
    plain: Document = message.to_dict(casing=betterproto2.Casing.SNAKE)
    stated_defaults(plain)
    return plain


def bootstrap_document(options: EnvoyOptions) -> Document:
    """`bootstrap` as a document."""
    return document(bootstrap(options))


def stated_defaults(node: Json) -> None:
    """Writes the defaults back that carry a decision: never fail open, no panic routing, no sampling by clients."""
    if isinstance(node, list):
        for item in node:
            stated_defaults(item)
    elif isinstance(node, dict):
        if str(node.get("@type", "")).endswith(".ext_authz.v3.ExtAuthz"):
            node.setdefault("failure_mode_allow", False)
        for key, value in node.items():
            if key in _ZERO_PERCENT and value == {}:
                value["value"] = 0.0
            stated_defaults(value)


_ZERO_PERCENT = ("healthy_panic_threshold", "client_sampling")
