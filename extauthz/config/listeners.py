"""``listen``: where extauthz can be reached, and how a connection is protected.

A listener is plaintext or TLS. Plaintext is right on loopback, on a unix socket, and inside a mesh whose sidecars do
mTLS; anywhere else whoever can reach the port can ask for decisions and read the tokens in the questions. Only the third
case can't be told from the address, so there it must be asked for by name (``plaintext: true``).
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from extauthz.config.addresses import Address
from extauthz.config.durations import Duration
from extauthz.config.fields import FilePath, Section, SomeList, Text
from extauthz.documents import FieldError

__all__ = ["AdminListener", "CheckListener", "HttpListener", "Listen", "Listener", "Tls"]

_MODE = re.compile(r"0?[0-7]{3}\Z")


def _mode(mode: str) -> str:
    if not _MODE.match(mode):
        message = f"{mode!r} is not a file mode"
        raise FieldError(message, 'write it as a string of octal digits: "0660"')
    if int(mode, 8) & 0o002:
        message = "would let every user of the machine connect"
        raise FieldError(message, 'give access by group: "0660"')
    return mode


class Tls(Section):
    """Certificates of a listener, PEM; they are read again when the files change. TLS 1.2 or later."""

    cert_file: FilePath
    """The certificate chain, own certificate first."""
    key_file: FilePath
    """The private key of the certificate."""
    client_ca_file: FilePath | None = None
    """The authorities whose clients may connect: with it every client needs a certificate (mTLS)."""
    client_principals: SomeList[Text] | None = None
    """The URI or DNS names (SAN) that a client's certificate may have; absent: any that `clientCaFile` vouches for."""
    client_certificates: Literal["required", "optional"] = "required"
    """optional, for `listen.http` alone: clients may come without a certificate and prove in another way who they are; a
    certificate that is shown must be one that would be accepted."""


class Listener(Section):
    """Where one of the servers listens."""

    address: Address
    """`host:port`, `[IPv6]:port` or `unix:/path`; port 0 takes a free one."""
    plaintext: bool = False
    """true: no TLS although the address can be reached from elsewhere. Right inside a mesh whose sidecars do mTLS."""
    socket_mode: Annotated[str, AfterValidator(_mode)] | None = None
    """Access rights of a unix socket, as octal digits in a string; absent: "0660"."""
    tls: Tls | None = None
    """Absent: plaintext."""

    @property
    def socket_rights(self) -> int:
        """The mode of the unix socket as a number."""
        return int(self.socket_mode or "0660", 8)


class CheckListener(Listener):
    """The gRPC server that Envoy asks."""

    address: Address = "127.0.0.1:9000"
    """`host:port`, `[IPv6]:port` or `unix:/path`; port 0 takes a free one."""
    transport: Literal["auto", "native", "grpcio"] = "auto"
    """Which gRPC server. auto takes the fastest that can do what is configured: native, or grpcio for TLS, reflection,
    `maxConnectionAge`, or where the extra `native` is not installed."""
    max_connection_age: Annotated[float, Duration(1, 86_400)] | None = None
    """How long a connection is kept, plus or minus a tenth, so that proxies spread over new replicas. Absent: grpcio
    keeps it for ten minutes, native for as long as the proxy does."""
    reflection: bool = False
    """true: gRPC server reflection, for grpcurl and the like. Off because it tells strangers what is there."""


class HttpListener(Listener):
    """The HTTP server of the token service. Started only where something on it is used."""

    address: Address = "127.0.0.1:8080"
    """`host:port`, `[IPv6]:port` or `unix:/path`; port 0 takes a free one. With several workers all of them answer here."""


class AdminListener(Listener):
    """The HTTP server for probes and metrics: /livez, /readyz, /metrics."""

    address: Address = "127.0.0.1:8081"
    """`host:port`, `[IPv6]:port` or `unix:/path`; port 0 takes a free one."""


class Listen(Section):
    """The listeners."""

    check: CheckListener = CheckListener()
    """gRPC: envoy.service.auth.v3.Authorization and grpc.health.v1."""
    http: HttpListener = HttpListener()
    """HTTP: the token service."""
    admin: AdminListener = AdminListener()
    """HTTP: probes and metrics, never tokens or secrets."""
