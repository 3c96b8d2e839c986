"""Addresses, extensions and clusters: the nouns every other part of the configuration points at.

Model: a cluster is a name with one or more endpoints, a protocol and, for the authorization server, the settings that
decide what happens when it is slow, gone or restarting. Those are the ones worth reading:

- an active gRPC health check on the Authorization service, so that a draining server is left before it stops;
- panic threshold 0: with every endpoint unhealthy a request fails at once, instead of being sent to servers that said
  they cannot decide;
- circuit breakers sized from `peak requests/s x timeout` and not left at 1024 and 3: an overflow is an error, and
  errors are what clients see as 503. The ceiling on concurrent retries matters most, because the moment when one of
  two endpoints stops is the moment when all of its calls in flight want to retry;
- HTTP/2 keepalive, because a pinned connection to a dead host otherwise looks alive until TCP gives up.

Trade-off: 2048 calls in flight admit about 8 000 requests/s at the full 250 ms timeout. That is far above what one
server should ever have pending, so the server's own `maxInFlight` answers first, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import betterproto2
import envoy_data_plane.envoy.config.cluster.v3 as cluster
import envoy_data_plane.envoy.config.core.v3 as core
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as upstreams
import envoy_data_plane.envoy.type.matcher.v3 as matcher
import envoy_data_plane.envoy.type.v3 as types
from envoy_data_plane.google.protobuf import Any

from mesh.address import Address, parse_address
from mesh.options import ClientTls, EnvoyOptions, ServerTls

AUTHZ = "authz"
HTTP_UPSTREAM = "upstream"
GRPC_UPSTREAM = "grpc-upstream"
TCP_UPSTREAM = "tcp-upstream"
COLLECTOR = "otel-collector"

AUTHORIZATION_SERVICE = "envoy.service.auth.v3.Authorization"
IN_FLIGHT = 2048


def packed(message: betterproto2.Message) -> Any:
    """Wraps a message as the `typed_config` of an extension."""
    return Any.pack(message)


def address_message(text: str) -> core.Address:
    """One `host:port` or `unix:/path` as Envoy's Address."""
    where: Address = parse_address(text)
    if where.is_unix:
        return core.Address(pipe=core.Pipe(path=where.path))
    return core.Address(socket_address=core.SocketAddress(address=where.host, port_value=where.port))


def _assignment(name: str, addresses: Sequence[str]) -> endpoint.ClusterLoadAssignment:
    members = [
        endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address_message(address))) for address in addresses
    ]
    return endpoint.ClusterLoadAssignment(
        cluster_name=name, endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=members)]
    )


def _discovery(addresses: Sequence[str]) -> cluster.ClusterDiscoveryType:
    # STATIC wants literal addresses, STRICT_DNS refuses unix sockets: the addresses themselves decide.
    names = any(parse_address(address).is_name for address in addresses)
    return cluster.ClusterDiscoveryType.STRICT_DNS if names else cluster.ClusterDiscoveryType.STATIC


def _http2(http2: core.Http2ProtocolOptions) -> dict[str, Any]:
    protocol = upstreams.HttpProtocolOptions(
        explicit_http_config=upstreams.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2)
    )
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(protocol)}


def plain_cluster(name: str, address: str, *, http2: bool = False) -> cluster.Cluster:
    """An upstream that we only forward to."""
    return cluster.Cluster(
        name=name,
        type=_discovery([address]),
        connect_timeout=timedelta(seconds=1),
        per_connection_buffer_limit_bytes=32 * 1024,
        load_assignment=_assignment(name, [address]),
        typed_extension_protocol_options=_http2(core.Http2ProtocolOptions()) if http2 else {},
    )


def authz_cluster(options: EnvoyOptions) -> cluster.Cluster:
    """The authorization server: HTTP/2 with keepalive, health checked, no panic routing, breakers sized on purpose."""
    return cluster.Cluster(
        name=AUTHZ,
        type=_discovery(options.authz),
        connect_timeout=timedelta(milliseconds=250),
        lb_policy=cluster.ClusterLbPolicy.LEAST_REQUEST,
        load_assignment=_assignment(AUTHZ, options.authz),
        typed_extension_protocol_options=_http2(
            core.Http2ProtocolOptions(
                max_concurrent_streams=100,
                connection_keepalive=core.KeepaliveSettings(
                    interval=timedelta(seconds=30), timeout=timedelta(seconds=5)
                ),
            )
        ),
        transport_socket=upstream_tls(options.authz_tls) if options.authz_tls else None,
        health_checks=[_health_check(options.authz_health)] if options.authz_health else [],
        common_lb_config=cluster.ClusterCommonLbConfig(healthy_panic_threshold=types.Percent(value=0.0)),
        circuit_breakers=cluster.CircuitBreakers(
            thresholds=[
                cluster.CircuitBreakersThresholds(
                    max_connections=256,
                    max_pending_requests=IN_FLIGHT,
                    max_requests=IN_FLIGHT,
                    max_retries=IN_FLIGHT // 4,
                )
            ]
        ),
    )


def _health_check(interval: timedelta) -> core.HealthCheck:
    return core.HealthCheck(
        timeout=timedelta(seconds=1),
        interval=interval,
        # Without traffic Envoy slows its checks down to one a minute: the first request after a quiet hour would
        # meet whatever the health was an hour ago.
        no_traffic_interval=interval,
        unhealthy_threshold=1,
        healthy_threshold=1,
        grpc_health_check=core.HealthCheckGrpcHealthCheck(service_name=AUTHORIZATION_SERVICE),
    )


def _file(path: object) -> core.DataSource:
    return core.DataSource(filename=str(path))


def downstream_tls(options: ServerTls) -> core.TransportSocket:
    """The listener's certificate, and the demand for a client certificate when a CA is given."""
    context = tls.DownstreamTlsContext(
        require_client_certificate=True if options.client_ca else None,
        common_tls_context=tls.CommonTlsContext(
            alpn_protocols=["h2", "http/1.1"],
            tls_certificates=[
                tls.TlsCertificate(certificate_chain=_file(options.certificate), private_key=_file(options.key))
            ],
            validation_context=(
                tls.CertificateValidationContext(trusted_ca=_file(options.client_ca)) if options.client_ca else None
            ),
        ),
    )
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def upstream_tls(options: ClientTls) -> core.TransportSocket:
    """TLS towards the authorization server: its name is checked, not only its issuer."""
    certificates = []
    if options.certificate and options.key:
        certificates = [
            tls.TlsCertificate(certificate_chain=_file(options.certificate), private_key=_file(options.key))
        ]
    expected = tls.SubjectAltNameMatcher(
        san_type=tls.SubjectAltNameMatcherSanType.DNS, matcher=matcher.StringMatcher(exact=options.server_name)
    )
    context = tls.UpstreamTlsContext(
        sni=options.server_name,
        common_tls_context=tls.CommonTlsContext(
            alpn_protocols=["h2"],
            tls_certificates=certificates,
            validation_context=tls.CertificateValidationContext(
                trusted_ca=_file(options.ca), match_typed_subject_alt_names=[expected]
            ),
        ),
    )
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
