"""Certificates, servers and clients for the tests of the serving room; everything listens on loopback or in tmp_path."""

import asyncio
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from extauthz.serving.certificates import Certificates
from extauthz.serving.embedded import ConnectionLimits
from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.health import Health
from extauthz.serving.http_listener import HttpLimits, HttpServer
from extauthz.serving.listener import Listener, TlsFiles, parse_address
from extauthz.serving.transport import CHECK_METHOD
from extauthz.serving.transports import check_server
from tests.serving.clerk import Begin, Clerk

DENIED = b"denied by the fallback"


class Authority:
    """A certificate authority that also signs URI names, which SPIFFE identities are."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._signed(self._name, self._key, [x509.BasicConstraints(ca=True, path_length=0)])
        self.pem = self._certificate.public_bytes(Encoding.PEM)

    def issue(self, *names: str) -> tuple[bytes, bytes]:
        """Key and certificate for IP addresses, URIs and DNS names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        alternative = x509.SubjectAlternativeName([self._general(name) for name in names])
        certificate = self._signed(subject, key, [alternative])
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private, certificate.public_bytes(Encoding.PEM)

    @staticmethod
    def _general(name: str) -> x509.GeneralName:
        if name.startswith("dns:"):
            return x509.DNSName(name.removeprefix("dns:"))
        if "://" in name:
            return x509.UniformResourceIdentifier(name)
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    def _signed(self, subject: x509.Name, key: Any, extensions: list[x509.ExtensionType]) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )
        # What Python 3.13 asks of certificates by default (VERIFY_X509_STRICT, RFC 5280 section 4.2.1).
        authority = self._key.public_key()
        is_authority = any(isinstance(extension, x509.BasicConstraints) for extension in extensions)
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        required = [
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority),
        ]
        if is_authority:
            builder = builder.add_extension(
                x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, decipher_only=False, **usage),
                critical=True,
            )
        for extension in (*required, *extensions):
            critical = isinstance(extension, x509.BasicConstraints)
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The authority that server and clients trust."""
    return Authority("ours")


@pytest.fixture(scope="session")
def stranger() -> Authority:
    """An authority that nobody trusts."""
    return Authority("theirs")


@pytest.fixture
def tls_files(authority: Authority, tmp_path: Path) -> Callable[..., TlsFiles]:
    """Writes a server certificate for some names, and gives the files; again for the same place."""

    def write(*names: str, mutual: bool = False, principals: tuple[str, ...] = ()) -> TlsFiles:
        key, chain = authority.issue("127.0.0.1", *names)
        (tmp_path / "tls.key").write_bytes(key)
        (tmp_path / "tls.crt").write_bytes(chain)
        (tmp_path / "ca.crt").write_bytes(authority.pem)
        ca = str(tmp_path / "ca.crt") if mutual else None
        return TlsFiles(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"), ca, principals)

    return write


@pytest.fixture(params=["grpcio", "native"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the two transports: what is asked of one is asked of the other."""
    return str(request.param)


@pytest.fixture
async def serve_check(transport: Any) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts a server around a handler and gives the target for a client."""
    async with AsyncExitStack() as stack:

        async def begin(
            handler: Any,
            *,
            address: str = "127.0.0.1:0",
            options: GrpcOptions | None = None,
            certificates: Certificates | None = None,
            health: Health | None = None,
        ) -> str:
            files = certificates.files if certificates else None
            listener = Listener(parse_address(address), tls=files)
            server = check_server(
                transport,
                listener,
                handler,
                DENIED,
                health or Health(),
                options=options or GrpcOptions(),
                certificates=certificates,
            )
            bound = server.bind("listen.check")
            await server.start()
            stack.push_async_callback(server.stop, 0)
            return str(bound)

        yield begin


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Opens a channel; plaintext, or TLS if credentials are given."""
    async with AsyncExitStack() as stack:

        def begin(target: str, credentials: grpc.ChannelCredentials | None = None, **options: int) -> Any:
            # Channels with equal options share connections, also across tests.
            arguments: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
            arguments += [(name.replace("__", "."), value) for name, value in options.items()]
            if credentials is None:
                channel = grpc.aio.insecure_channel(target, arguments)
            else:
                channel = grpc.aio.secure_channel(target, credentials, arguments)
            stack.push_async_callback(channel.close, None)
            return channel

        yield begin


@pytest.fixture
def ask() -> Callable[..., Awaitable[bytes]]:
    """Sends one Check over a channel."""

    async def begin(channel: Any, message: bytes = b"?", timeout: float | None = 5, **more: Any) -> bytes:  # noqa: ASYNC109
        answer = await channel.unary_unary(CHECK_METHOD)(message, timeout=timeout, **more)
        assert isinstance(answer, bytes)
        return answer

    return begin


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Waits until something is true, for twenty seconds at most, which only a test that fails takes."""

    async def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what it waits for is not ours to signal
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def clerk() -> Clerk:
    return Clerk()


@pytest.fixture
async def begin_http(clerk: Clerk) -> AsyncIterator[Begin]:
    """Starts an http listener and gives the address that it got."""
    async with AsyncExitStack() as stack:

        async def start(
            address: str = "127.0.0.1:0", *, tls: TlsFiles | None = None, connection: Any = None, **limits: Any
        ) -> str:
            certificates = Certificates("listen.http", tls) if tls else None
            bounds = ConnectionLimits(**{"connections": 64, **(connection or {})})
            listener = Listener(parse_address(address), tls=tls)
            server = HttpServer(listener, clerk, certificates, HttpLimits(connection=bounds, **limits))
            bound = server.bind()
            await server.start()
            stack.push_async_callback(server.stop, 0)
            return str(bound)

        yield start
