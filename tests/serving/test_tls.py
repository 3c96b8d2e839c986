"""TLS on the check listener: who may connect, and certificates that change while it runs."""

import asyncio
import ssl
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from extauthz.errors import ServingError
from extauthz.serving.certificates import Certificates, may_connect
from extauthz.serving.listener import TlsFiles
from extauthz.serving.transport import Call

Begin = Callable[..., Awaitable[str]]
Connect = Callable[..., Any]
Ask = Callable[..., Coroutine[Any, Any, bytes]]
Files = Callable[..., TlsFiles]

ENVOY = "spiffe://cluster.local/ns/mesh/sa/envoy"


@pytest.fixture
def transport() -> str:
    """The one that has TLS."""
    return "grpcio"


def echo(message: bytes, call: Call) -> bytes:
    return b"ok"


def client(authority: Any, *names: str, signer: Any = None) -> grpc.ChannelCredentials:
    """Credentials of a client that trusts the authority, with a certificate if there are names for one."""
    key, chain = (signer or authority).issue(*names) if names else (None, None)
    return grpc.ssl_channel_credentials(authority.pem, key, chain)


async def outcome(ask: Ask, channel: Any) -> grpc.StatusCode:
    try:
        await ask(channel)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def served_serial(target: str, authority: Any) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    host, _, port = target.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("peercert")
    writer.close()
    return int(shown["serialNumber"], 16)


async def test_checks_come_over_tls(
    serve_check: Begin, connect: Connect, ask: Ask, tls_files: Files, authority: Any, stranger: Any
) -> None:
    """A client that trusts our authority is served; one that trusts another, or speaks plaintext, is not."""
    target = await serve_check(echo, certificates=Certificates("listen.check", tls_files()))
    assert await outcome(ask, connect(target, client(authority))) is grpc.StatusCode.OK
    assert await outcome(ask, connect(target, client(stranger))) is grpc.StatusCode.UNAVAILABLE
    assert await outcome(ask, connect(target)) is grpc.StatusCode.UNAVAILABLE


async def test_tls_before_1_2_is_refused(serve_check: Begin, tls_files: Files, authority: Any) -> None:
    """TLS 1.1 gets no connection, TLS 1.2 does."""
    target = await serve_check(echo, certificates=Certificates("listen.check", tls_files()))
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(host, int(port), ssl=context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
    writer.close()


async def test_a_client_ca_asks_every_client_for_a_certificate(
    serve_check: Begin, connect: Connect, ask: Ask, tls_files: Files, authority: Any, stranger: Any
) -> None:
    """With clientCaFile a client without certificate, or with one of another authority, gets no connection."""
    target = await serve_check(echo, certificates=Certificates("listen.check", tls_files(mutual=True)))
    assert await outcome(ask, connect(target, client(authority, "any.example"))) is grpc.StatusCode.OK
    assert await outcome(ask, connect(target, client(authority))) is grpc.StatusCode.UNAVAILABLE
    forged = client(authority, ENVOY, signer=stranger)
    assert await outcome(ask, connect(target, forged)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ((ENVOY,), grpc.StatusCode.OK),
        (("other.example", ENVOY), grpc.StatusCode.OK),
        (("gateway.example",), grpc.StatusCode.OK),
        (("GATEWAY.example",), grpc.StatusCode.OK),
        (("spiffe://cluster.local/ns/mesh/sa/envoy2",), grpc.StatusCode.PERMISSION_DENIED),
        (("spiffe://CLUSTER.local/ns/mesh/sa/envoy",), grpc.StatusCode.PERMISSION_DENIED),
        (("dns:" + ENVOY,), grpc.StatusCode.PERMISSION_DENIED),
        (("spiffe://gateway.example/x",), grpc.StatusCode.PERMISSION_DENIED),
        (("evil.gateway.example",), grpc.StatusCode.PERMISSION_DENIED),
        (("10.0.0.1",), grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_client_principals_name_who_may_ask(
    serve_check: Begin,
    connect: Connect,
    ask: Ask,
    tls_files: Files,
    authority: Any,
    names: tuple[str, ...],
    code: grpc.StatusCode,
) -> None:
    """Only a client with one of the URI or DNS names may ask; names are compared whole and each with its own kind."""
    asked: list[bytes] = []

    def handler(message: bytes, call: Call) -> bytes:
        asked.append(message)
        return b"ok"

    files = tls_files(mutual=True, principals=(ENVOY, "gateway.example"))
    channel = connect(await serve_check(handler, certificates=Certificates("x", files)), client(authority, *names))
    with capture_logs() as logs:
        assert await outcome(ask, channel) is code
        assert await outcome(ask, channel) is code
    refused = code is not grpc.StatusCode.OK
    assert len(asked) == (0 if refused else 2)
    assert len(logs) == (1 if refused else 0), "a refusal is logged, but not each time"


def test_no_name_is_allowed_by_nothing() -> None:
    """A client without names, and an empty list, match nothing."""
    assert not may_connect((ENVOY,), (), ())
    assert not may_connect((), (ENVOY,), ("a",))


async def test_new_certificates_are_served_and_connections_stay(
    serve_check: Begin, connect: Connect, ask: Ask, tls_files: Files, authority: Any
) -> None:
    """After a reload new connections get the new certificate, and those that are open go on undisturbed."""
    certificates = Certificates("listen.check", tls_files())
    target = await serve_check(echo, certificates=certificates)
    open_before = connect(target, client(authority))
    await ask(open_before)
    running = asyncio.create_task(ask(open_before))
    before = await served_serial(target, authority)
    tls_files()
    assert certificates.reload()
    after = await served_serial(target, authority)
    assert before != after
    assert await served_serial(target, authority) == after
    assert await running == b"ok"
    assert open_before.get_state() is grpc.ChannelConnectivity.READY
    assert await ask(open_before) == b"ok"
    assert not certificates.reload(), "the same files are no change"


async def test_a_client_ca_can_be_replaced(
    serve_check: Begin, connect: Connect, ask: Ask, tls_files: Files, authority: Any, stranger: Any, tmp_path: Path
) -> None:
    """After a reload clients of the new authority are accepted and those of the old one are not."""
    files = tls_files(mutual=True)
    certificates = Certificates("listen.check", files)
    target = await serve_check(echo, certificates=certificates)
    theirs = client(authority, "a.example", signer=stranger)
    assert await outcome(ask, connect(target, theirs)) is grpc.StatusCode.UNAVAILABLE
    (tmp_path / "ca.crt").write_bytes(stranger.pem)
    certificates.reload()
    assert await outcome(ask, connect(target, theirs)) is grpc.StatusCode.OK
    assert await outcome(ask, connect(target, client(authority, "a.example"))) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("damage", ["half", "foreign key", "gone", "encrypted", "client ca"])
def test_unusable_certificates_change_nothing(tls_files: Files, authority: Any, tmp_path: Path, damage: str) -> None:
    """Files that are half written, do not fit together or are gone leave what was served in force."""
    files = tls_files(mutual=damage == "client ca")
    certificates = Certificates("listen.check", files)
    material = certificates.material
    chain, key = Path(files.cert_file), Path(files.key_file)
    if damage == "half":
        chain.write_bytes(chain.read_bytes()[:200])
    elif damage == "foreign key":
        key.write_bytes(authority.issue("127.0.0.1")[0])
    elif damage == "gone":
        key.unlink()
    elif damage == "encrypted":
        plain = load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    else:
        Path(str(files.client_ca_file)).write_text("no certificate")
    with pytest.raises(ServingError, match=r"listen\.check\.tls") as caught:
        certificates.reload()
    assert "PRIVATE KEY" not in str(caught.value)
    assert certificates.material is material
    with pytest.raises(ServingError):
        Certificates("listen.check", files)


def test_keys_do_not_show(tls_files: Files) -> None:
    """The representation of certificates has no private key in it."""
    assert "PRIVATE KEY" not in repr(Certificates("listen.check", tls_files()).material)
