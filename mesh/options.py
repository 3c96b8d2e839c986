"""What may differ between two Envoys of ours: one frozen value that the builders read.

Model: the defaults describe the hardened edge proxy of the demo. A test or the compose file says only what differs
from that (`dataclasses.replace` or keyword arguments). There is deliberately no option that opens the door: fail-open,
a missing catch-all route or unvalidated mutations cannot be asked for. `edge` and `raw_headers` can be switched off,
because the server must hold on its own behind an Envoy that neither cleans paths and headers nor sends raw bytes.

Trade-off: options are plain data without behaviour, so they can be compared, printed and frozen into golden files, at
the price that wrong combinations show up only in the builders or in `envoy --mode validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from extauthz.envoy_config import HEADERS_ALLOWED


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificate a listener shows; with `client_ca` a client certificate is required as well."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How Envoy proves itself to the authorization server, and whom it expects there."""

    ca: Path
    server_name: str
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class ExtraRoute:
    """A route before the catch-all: a prefix with its own context extensions, or one that is not checked at all."""

    prefix: str
    context: Mapping[str, str] = field(default_factory=dict)
    unchecked: bool = False


@dataclass(frozen=True, slots=True)
class TcpListener:
    """A second listener that carries plain TCP behind the network ext_authz filter."""

    listen: str
    upstream: str


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where Envoy's OpenTelemetry tracer exports (OTLP over gRPC), and how many requests without a parent it samples."""

    collector: str
    sampling_percent: float = 1.0
    prompt: bool = False
    """Export every span at once, for demos and tests that look at the trace a moment later."""


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """One Envoy in front of one extauthz. Addresses are `host:port` or, for the authorization server, `unix:/path`."""

    listen: str = "127.0.0.1:10000"
    admin: str = "127.0.0.1:9901"
    authz: tuple[str, ...] = ("127.0.0.1:9000",)
    upstream: str = "127.0.0.1:8000"
    grpc_upstream: str | None = None
    authz_timeout: timedelta = timedelta(milliseconds=250)
    authz_retries: int = 2
    authz_health: timedelta | None = timedelta(seconds=2)
    """Interval of the gRPC health check; None for servers that have no health service."""
    authz_tls: ClientTls | None = None
    headers_allowed: tuple[str, ...] = HEADERS_ALLOWED
    raw_headers: bool = True
    edge: bool = True
    """False: a connection manager as it comes, without path normalisation, header stripping or trust in its peer."""
    forward_client_cert: bool = False
    """True: x-forwarded-client-cert is passed on with an element about the client's certificate, as Istio's sidecars do
    (APPEND_FORWARD). False: it is taken away."""
    body_bytes: int = 0
    """How much of a request's body the check sees; 0 sends none, and never delays a stream."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Context extensions of the catch-all route."""
    routes: tuple[ExtraRoute, ...] = ()
    tls: ServerTls | None = None
    tcp: TcpListener | None = None
    tracing: Tracing | None = None
    access_log: str | None = None
    """A file, or None for standard output (what containers want)."""
    node: str = "edge"
