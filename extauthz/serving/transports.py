"""Which of the two transports serves the Checks: the fastest that can do what is asked for.

``grpcio`` is the reference and can do everything. ``native`` takes a fraction of its CPU for a call, and has no TLS, no age
of connections and no reflection; it is a package of its own that may be missing. ``auto`` takes native wherever nothing
is asked for that it lacks. Both pass the same tests.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal, Protocol

from extauthz.errors import ServingError
from extauthz.serving.certificates import Certificates
from extauthz.serving.grpc_server import GrpcOptions, GrpcServer
from extauthz.serving.health import Health
from extauthz.serving.listener import Address, Listener
from extauthz.serving.transport import Handler

__all__ = ["CheckServer", "Transport", "check_server", "chosen"]

Transport = Literal["auto", "native", "grpcio"]


class CheckServer(Protocol):
    """A server of Checks and health on one listener. ``GrpcServer`` and ``NativeServer`` are the two."""

    def bind(self, name: str) -> Address:
        """Open the listener, called ``name`` in texts, and give its address. Raises ServingError."""
        ...

    async def start(self) -> None:
        """Begin to answer."""
        ...

    async def stop(self, grace: float) -> None:
        """End, giving running calls ``grace`` seconds."""
        ...

    async def wait_closed(self) -> None:
        """Wait until it has ended."""
        ...


def chosen(wanted: Transport, listener: Listener, options: GrpcOptions) -> Literal["native", "grpcio"]:
    """The transport for a listener.

    Raises:
        ServingError: ``native`` was asked for by name, and can't be had.
    """
    if wanted == "grpcio":
        return "grpcio"
    lacking = next(_lacking(listener, options), None)
    if lacking is None:
        return "native"
    if wanted == "native":
        raise ServingError(f"listen.check.transport: native can't be taken: {lacking}")
    return "grpcio"


def _lacking(listener: Listener, options: GrpcOptions) -> Iterator[str]:
    """Why the native transport is not for a listener."""
    if listener.tls is not None:
        yield "it has no TLS; choose auto or grpcio, or remove listen.check.tls"
    if options.reflection:
        yield "it has no reflection; choose auto or grpcio, or remove listen.check.reflection"
    if options.max_connection_age is not None:
        yield "its connections have no age; choose auto or grpcio, or remove listen.check.maxConnectionAge"
    if find_spec("pygrpc_native") is None:
        yield "its package is not installed; install the extra: pip install 'extauthz[native]'"


def check_server(
    transport: Literal["native", "grpcio"],
    listener: Listener,
    handler: Handler,
    fallback: bytes,
    health: Health,
    *,
    options: GrpcOptions,
    certificates: Certificates | None = None,
) -> CheckServer:
    """Put a server together; nothing is opened yet. To be called in the event loop."""
    if transport == "native":
        # Imported where it is used: the package may be missing.
        from extauthz.serving.native_server import NativeServer

        return NativeServer(listener, handler, fallback, health, options=options)
    return GrpcServer(listener, handler, fallback, health, options=options, certificates=certificates)
