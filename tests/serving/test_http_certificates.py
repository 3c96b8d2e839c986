"""Client certificates on the http listener: what TLS has verified on this very connection counts, and nothing else."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.serving.certificates import Certificates
from extauthz.serving.http_listener import HttpServer
from extauthz.serving.listener import Listener, TlsFiles, parse_address
from tests.serving.clerk import Begin, Clerk, ask

Files = Callable[..., TlsFiles]


def presenting(authority: Any, tmp_path: Path, *, by: Any = None) -> tuple[ssl.SSLContext, bytes]:
    """A client that trusts the authority and shows a certificate; and that certificate, DER."""
    key, chain = (by or authority).issue("spiffe://a/client")
    (tmp_path / "client.pem").write_bytes(key + chain)
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.load_cert_chain(tmp_path / "client.pem")
    return context, x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)


async def test_a_client_certificate_that_verifies_is_handed_on(
    begin_http: Begin, clerk: Clerk, tls_files: Files, authority: Any, tmp_path: Path
) -> None:
    """And where it is optional, a client without one is answered too."""
    files = tls_files(mutual=True)
    address = await begin_http(
        tls=TlsFiles(files.cert_file, files.key_file, files.client_ca_file, client_optional=True)
    )
    context, der = presenting(authority, tmp_path)
    await ask(f"https://{address}/", verify=context)
    await ask(f"https://{address}/", verify=ssl.create_default_context(cadata=authority.pem.decode()))
    assert [question.certificate for question in clerk.asked] == [der, None]


async def test_what_a_header_says_of_certificates_counts_for_nothing(
    begin_http: Begin, clerk: Clerk, tls_files: Files, authority: Any
) -> None:
    """x-forwarded-client-cert is a header as any other."""
    files = tls_files(mutual=True)
    address = await begin_http(
        tls=TlsFiles(files.cert_file, files.key_file, files.client_ca_file, client_optional=True)
    )
    context = ssl.create_default_context(cadata=authority.pem.decode())
    forged = {"x-forwarded-client-cert": "By=spiffe://a/b;Hash=00;URI=spiffe://a/client", "x-client-cert": "MII"}
    await ask(f"https://{address}/", verify=context, headers=forged)
    assert clerk.asked[0].certificate is None


async def test_a_strangers_certificate_ends_the_handshake(
    begin_http: Begin, clerk: Clerk, tls_files: Files, authority: Any, stranger: Any, tmp_path: Path
) -> None:
    """Optional is not whatever."""
    files = tls_files(mutual=True)
    address = await begin_http(
        tls=TlsFiles(files.cert_file, files.key_file, files.client_ca_file, client_optional=True)
    )
    context, _ = presenting(authority, tmp_path, by=stranger)
    with pytest.raises(httpx2.TransportError):
        await ask(f"https://{address}/", verify=context)
    assert not clerk.asked


async def test_a_certificate_is_required_unless_it_is_optional(
    begin_http: Begin, clerk: Clerk, tls_files: Files, authority: Any
) -> None:
    """As on every other listener."""
    address = await begin_http(tls=tls_files(mutual=True))
    with pytest.raises(httpx2.TransportError):
        await ask(f"https://{address}/", verify=ssl.create_default_context(cadata=authority.pem.decode()))
    assert not clerk.asked


async def test_a_certificate_counts_until_it_expires(
    clerk: Clerk, tls_files: Files, authority: Any, tmp_path: Path
) -> None:
    """A connection may live longer."""
    files = tls_files(mutual=True)
    server = HttpServer(Listener(parse_address("127.0.0.1:0"), tls=files), clerk, Certificates("listen.http", files))
    app: Any = server.app
    app._now = lambda: 4e9
    address = server.bind()
    await server.start()
    try:
        context, _ = presenting(authority, tmp_path)
        await ask(f"https://{address}/", verify=context)
    finally:
        await server.stop()
    assert clerk.asked[0].certificate is None


async def test_no_session_is_resumed(begin_http: Begin, tls_files: Files, authority: Any, tmp_path: Path) -> None:
    """A resumed session would show a certificate that nobody looked at again."""
    address = await begin_http(tls=tls_files(mutual=True))
    host, _, port = address.rpartition(":")
    context, _ = presenting(authority, tmp_path)

    def twice() -> bool | None:
        session = None
        reused: bool | None = None
        for _ in range(2):
            with (
                __import__("socket").create_connection((host, int(port))) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as shaken,
            ):
                shaken.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                shaken.recv(10)
                session, reused = shaken.session, shaken.session_reused
        return reused

    assert await asyncio.to_thread(twice) is False
