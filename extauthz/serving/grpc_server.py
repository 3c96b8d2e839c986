"""The grpcio transport: the reference, with TLS, connection age and everything else that gRPC knows.

Each Check is one coroutine that hands the raw bytes to the handler; no request object is made here. It is written so
that an RPC error can't come out of it once the caller may ask at all: Envoy takes an error as "no decision", which a
proxy that fails open turns into an allow. Even a handler that breaks its contract gives the denial that was built
before anything could go wrong; so does an empty answer, which Envoy would read as an allow. The exceptions are those
of the transport itself: a message over the limit, and a client that is not one of ours.

Options, and why (reference: Envoy's connections are few and long-lived):
connections end after an age, so that load spreads over new replicas; gRPC varies the age by a tenth by itself. Pings
are allowed every five seconds, also without calls: by default gRPC answers Envoy's keepalive with GOAWAY. The server
pings as well, so that connections of proxies that vanished don't stay. ``SO_REUSEPORT`` is off, so that a second
server on the same port fails. A Check's metadata may be as long as the headers that Envoy takes from a client, since
part of them are the client's words (``tracestate``): by default gRPC answers more than 8 KiB with an error, and with it
whoever wants a Check to fail can make it fail.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from extauthz.errors import ServingError
from extauthz.serving.certificates import Certificates, may_connect
from extauthz.serving.faults import describe
from extauthz.serving.health import Health
from extauthz.serving.listener import Address, Listener, TcpAddress, UnixAddress
from extauthz.serving.sockets import clear_unix_path, open_socket, remove_unix_path, socket_permissions
from extauthz.serving.transport import CHECK_METHOD, Call, Handler, time_left

__all__ = ["GrpcOptions", "GrpcServer"]

_log = structlog.get_logger()

_HANDSHAKE_SECONDS = 10
_CONNECTION_AGE_SECONDS = 600.0
_STREAMS = 16
"""What is over the deadline costs this transport nearly as much as what is answered, so little may be under way: with
more, three times the load that it can take leaves hardly an answer in time."""
PING_SECONDS = 60
PING_TIMEOUT_SECONDS = 20
_REPORT_SECONDS = 60
"""How often at most the log says that clients are refused."""

_Check = Callable[[bytes, Any], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What the grpcio transport may take and how long it keeps connections."""

    max_message_bytes: int = 262_144
    """A larger message, compressed or not, is refused by the transport with RESOURCE_EXHAUSTED."""
    max_metadata_bytes: int = 98_304
    """Of one call. Envoy takes 60 KiB of headers from a client by default."""
    max_connection_age: float | None = None
    """Seconds, plus or minus a tenth, after which a connection gets GOAWAY; None: ten minutes where that can be done."""
    max_connection_age_grace: float = 30.0
    """Seconds that the calls of such a connection have left."""
    min_ping_interval: float = 5.0
    """Seconds between the pings of a client that are not held against it; at most Envoy's keepalive interval."""
    max_concurrent_streams: int | None = None
    """Calls at a time on one connection; None: as many as suit the transport. A proxy with more opens another one or lets
    them wait; what waits there costs nothing here, and is not sent any more once its time is over."""
    reflection: bool = False
    """Whether clients may ask what this server can do."""

    def arguments(self) -> list[tuple[str, int]]:
        """The options as gRPC's channel arguments. gRPC ignores names that it does not know; a test knows them all."""
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # With two limits, what is between them would be refused by chance.
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_concurrent_streams or _STREAMS),
            # gRPC counts a stream until its last byte has left, so a client that keeps to the limit exactly goes over
            # it now and then. By default such a stream is reset, which Envoy takes for a failed check.
            ("grpc.http.overload_protection", 0),
            ("grpc.max_connection_age_ms", _milliseconds(self.max_connection_age or _CONNECTION_AGE_SECONDS)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(self.max_connection_age_grace)),
            ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(self.min_ping_interval)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", _milliseconds(PING_SECONDS)),
            ("grpc.keepalive_timeout_ms", _milliseconds(PING_TIMEOUT_SECONDS)),
            ("grpc.server_handshake_timeout_ms", _milliseconds(_HANDSHAKE_SECONDS)),
        ]


class GrpcServer:
    """One grpc.aio server on one listener: Check, health, and reflection if it was asked for."""

    def __init__(
        self,
        listener: Listener,
        handler: Handler,
        fallback: bytes,
        health: Health,
        *,
        options: GrpcOptions,
        certificates: Certificates | None = None,
    ) -> None:
        """Put the server together; nothing is opened yet. To be called in the event loop.

        ``fallback`` is the serialised denial that answers when the handler fails; an empty one is refused, since it
        would allow. ``certificates`` are given exactly if the listener has ``tls``.
        """
        if not fallback:
            raise ValueError("an empty fallback would be an allow")
        self._listener = listener
        self._certificates = certificates
        self._server = grpc.aio.server(options=options.arguments())
        self._ended: asyncio.Task[None] | None = None
        check = _checked(handler, fallback)
        if listener.tls is not None and listener.tls.client_principals:
            check = _guarded(check, listener.tls.client_principals)
        self._server.add_generic_rpc_handlers((_CheckService(check), health.service()))
        if options.reflection:
            # Pulls in descriptors that a server without reflection need not load.
            from extauthz.serving.reflection import add_reflection

            add_reflection(self._server)

    def bind(self, name: str) -> Address:
        """Open the listener; gives the address that it got (port 0 has become a real port).

        ``name`` is the setting's path. Raises ServingError. Calls are answered after ``start``.
        """
        address = self._listener.address
        if isinstance(address, UnixAddress):
            clear_unix_path(address.path)
            with socket_permissions(self._listener.socket_mode):
                self._add_port(name, f"unix:{address.path}")
            return address
        return TcpAddress(address.host, self._add_port(name, str(address)))

    def _add_port(self, name: str, target: str) -> int:
        try:
            if self._certificates is None:
                return self._server.add_insecure_port(target)
            return self._server.add_secure_port(target, _credentials(self._certificates))
        except RuntimeError:
            raise ServingError(self._why_not(name)) from None

    def _why_not(self, name: str) -> str:
        """The system's reason why the listener can't be opened, which gRPC writes to stderr alone: ask again."""
        address = self._listener.address
        try:
            opened, _ = open_socket(name, self._listener)
        except ServingError as error:
            return str(error)
        remove_unix_path(address, os.fstat(opened.fileno()).st_ino)
        opened.close()
        return f"{name}.address: gRPC can't listen on {address}"

    async def start(self) -> None:
        """Begin to answer calls."""
        await self._server.start()
        # Cancelling a wait for gRPC's end breaks its stop, so there is one wait, and it is never cancelled.
        self._ended = asyncio.create_task(self._wait(), name="check listener")

    async def _wait(self) -> None:
        await self._server.wait_for_termination()

    async def stop(self, grace: float) -> None:
        """Take no new calls, tell clients so (GOAWAY), and give running calls ``grace`` seconds.

        A second call shortens the grace of the first.
        """
        if self._ended is None:
            # gRPC closes the sockets only of a server that was started.
            await self.start()
        await self._server.stop(grace)

    async def wait_closed(self) -> None:
        """Wait until the server, which was started, has ended."""
        if self._ended is not None:
            await asyncio.shield(self._ended)


class _CheckService(grpc.GenericRpcHandler):
    """Finds the one method, without decoding its messages."""

    def __init__(self, check: _Check) -> None:
        self._method: Any = grpc.unary_unary_rpc_method_handler(check)

    def service(self, handler_call_details: Any) -> Any:
        return self._method if handler_call_details.method == CHECK_METHOD else None


def _checked(handler: Handler, fallback: bytes) -> _Check:
    """The method as gRPC calls it: an answer comes out whatever the handler does."""

    async def check(message: bytes, context: Any) -> bytes:
        try:
            answer: Any = handler(message, Call(context.invocation_metadata(), time_left(context.time_remaining())))
            if not isinstance(answer, bytes):
                answer = await answer
            if isinstance(answer, bytes) and answer:
                return answer
            _log.error("check failed", fault="the handler gave no answer")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something that the handler waited for was cancelled, not this call: its caller still waits.
            _log.error("check failed", fault="what the check waited for was cancelled")
        except Exception as error:  # noqa: BLE001 - the last boundary: whatever it is, the answer is a denial
            _log.error("check failed", fault=describe(error))
        return fallback

    return check


def _guarded(check: _Check, allowed: tuple[str, ...]) -> _Check:
    """Let only clients ask whose certificate carries one of the allowed names.

    The others get an RPC error: they are not our proxy, so no decision is made for them.
    """
    reported = float("-inf")

    async def guarded(message: bytes, context: Any) -> bytes:
        nonlocal reported
        peer = context.auth_context()
        uris = [_text(value) for value in peer.get("peer_uri", ())]
        names = [_text(value) for value in peer.get("peer_dns", ())]
        if not may_connect(allowed, uris, names):
            now = asyncio.get_running_loop().time()
            if now - reported >= _REPORT_SECONDS:
                reported = now
                _log.warning("client refused: none of its names is in clientPrincipals", uris=uris, names=names)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this client may not ask")
        return await check(message, context)

    return guarded


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials that ask for the certificates in force at each handshake.

    gRPC takes the configuration that it is given away from us, so each is given once, and None (no change) otherwise.
    It asks on threads of its own; a handshake that races with a change may still use the certificates before it.
    """
    given = certificates.material

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(given.key, given.chain)], given.client_ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        current = certificates.material
        if current is given:
            return None
        given = current
        return configuration()

    # The published stubs don't know that None means no change.
    no_change_allowed: Any = fetch
    return grpc.dynamic_ssl_server_credentials(
        configuration(), no_change_allowed, require_client_authentication=given.client_ca is not None
    )


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
