"""TLS: who is at the other end, and who gets our token (docs/security.md T51)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme

from extauthz.errors import UpstreamError
from extauthz.fetch import HttpFetcher
from tests.fetch.conftest import Authority, Server, Settings, http


async def failure(fetcher: HttpFetcher, url: str, settings: Settings) -> str:
    with pytest.raises(UpstreamError) as caught:
        await fetcher.get(url, settings)
    return str(caught.value)


@pytest.fixture
def named(secure: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The HTTPS server under any name: every name resolves to loopback."""

    async def resolve(_host: str, _port: int) -> Any:
        from ipaddress import ip_address

        return [ip_address("127.0.0.1")]

    monkeypatch.setattr("extauthz.fetch.fetcher.resolve", resolve)
    secure.answers["/"] = http(200, b"{}")
    return secure


async def test_the_certificate_is_checked_for_the_name(
    named: Server, fetcher: HttpFetcher, authority: Authority
) -> None:
    """T51: the connection goes to an address, the certificate must be for the name in the URL."""
    settings = Settings(ca_file=authority.file, allow_http=False)
    assert (await fetcher.get(f"https://keys.example.com:{named.port}/", settings)).body == b"{}"
    assert (await fetcher.get(f"https://127.0.0.1:{named.port}/", settings)).body == b"{}"
    text = await failure(fetcher, f"https://other.example.com:{named.port}/", settings)
    assert "certificate" in text.lower()
    assert len(named.heads) == 2


async def test_an_unknown_authority_is_refused(named: Server, fetcher: HttpFetcher) -> None:
    """T51: without its CA the server is nobody, and a caFile replaces the system's trust store."""
    text = await failure(fetcher, f"https://keys.example.com:{named.port}/", Settings())
    assert "certificate" in text.lower()
    assert named.heads == []


async def test_ca_and_token_files_are_read_anew(
    named: Server, fetcher: HttpFetcher, authority: Authority, tmp_path: Path
) -> None:
    """Rotated files count from the next fetch on, without a restart."""
    ca, token = tmp_path / "ca.pem", tmp_path / "token"
    trustme.CA().cert_pem.write_to_path(str(ca))
    token.write_text("first\n")
    settings = Settings(ca_file=str(ca), token_file=str(token))
    url = f"https://keys.example.com:{named.port}/"
    await failure(fetcher, url, settings)
    authority.ca.cert_pem.write_to_path(str(ca))
    await fetcher.get(url, settings)
    token.write_text("second")
    await fetcher.get(url, settings)
    assert [line for head in named.heads for line in head.lower().split("\r\n") if "authorization" in line] == [
        "authorization: bearer first",
        "authorization: bearer second",
    ]


async def test_a_token_is_never_sent_in_the_clear(server: Server, fetcher: HttpFetcher, tmp_path: Path) -> None:
    """X: plain HTTP may be allowed, but not for a credential."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    text = await failure(fetcher, f"{server.url}/", Settings(token_file=str(token)))
    assert "tokenFile" in text
    assert server.heads == []


async def test_a_redirect_does_not_take_the_token_elsewhere(
    named: Server, fetcher: HttpFetcher, authority: Authority, tmp_path: Path
) -> None:
    """X: on the same origin the token goes along; to another host nothing goes at all."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    settings = Settings(ca_file=authority.file, token_file=str(token))
    url = f"https://keys.example.com:{named.port}"
    named.answers["/a"] = http(302, b"", "location: /")
    await fetcher.get(f"{url}/a", settings)
    assert all("authorization: bearer s3cret" in head.lower() for head in named.heads)
    for location in (f"https://127.0.0.1:{named.port}/", f"http://keys.example.com:{named.port}/"):
        named.heads.clear()
        named.answers["/a"] = http(302, b"", f"location: {location}")
        assert "s3cret" not in await failure(fetcher, f"{url}/a", settings)
        assert len(named.heads) == 1


@pytest.mark.parametrize("content", [None, "", "\n", "two tokens", "line\nbreak", "caf\u00e9", "a\x00b", "x" * 70_000])
async def test_a_token_file_holds_one_token(
    named: Server, fetcher: HttpFetcher, authority: Authority, tmp_path: Path, content: str | None
) -> None:
    """X: what could split a header or is no token is not sent, and is not shown."""
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    settings = Settings(ca_file=authority.file, token_file=str(token))
    text = await failure(fetcher, f"https://keys.example.com:{named.port}/", settings)
    assert text.startswith(f"tokenFile {token}: ")
    assert named.heads == []


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_a_broken_ca_file_is_named(fetcher: HttpFetcher, tmp_path: Path, content: str | None) -> None:
    """T51: a caFile that holds nothing trusts nobody, and the error says which file."""
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    text = await failure(fetcher, "https://127.0.0.1:1/", Settings(ca_file=str(ca)))
    assert text.startswith(f"caFile {ca}: ")


async def test_plain_text_behind_https_is_refused(fetcher: HttpFetcher) -> None:
    """T51: a server that speaks no TLS is not spoken to."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, b"{}"))
        writer.close()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    assert "can't connect" in await failure(fetcher, f"https://127.0.0.1:{port}/", Settings())
    listener.close()


async def test_a_handshake_that_never_ends_leaves_no_connection_behind() -> None:
    """I9: the deadline, or a caller that goes away, closes a connection in the middle of its handshake too."""
    gone = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        # Long enough for a busy machine to dial, or there is no handshake to leave.
        text = await failure(HttpFetcher(deadline=0.5), f"https://127.0.0.1:{port}/", Settings())
        assert "no answer within 0.5 s" in text
        async with asyncio.timeout(10):
            await gone.wait()
    finally:
        listener.close()
