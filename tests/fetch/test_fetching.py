"""What a fetch does and does not do (docs/security.md T52, I6, I9)."""

import asyncio
import time
from typing import Any

import pytest

from extauthz.errors import UpstreamError
from extauthz.fetch import HttpFetcher
from extauthz.fetch.exchange import MAX_BODY
from tests.fetch.conftest import Server, Settings, http

OPEN = Settings()


async def failure(fetcher: HttpFetcher, url: str, settings: Settings = OPEN) -> str:
    with pytest.raises(UpstreamError) as caught:
        await fetcher.get(url, settings)
    return str(caught.value)


async def test_a_document_is_fetched(server: Server, fetcher: HttpFetcher) -> None:
    """The body comes as it was sent, and the request asks for plain JSON, without cookies or credentials."""
    server.answers["/jwks?v=1"] = http(200, b'{"keys":[]}', "set-cookie: a=b")
    answer = await fetcher.get(f"{server.url}/jwks?v=1", OPEN)
    assert (answer.body, answer.max_age) == (b'{"keys":[]}', None)
    head = server.heads[0].lower()
    assert head.startswith("get /jwks?v=1 http/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}\r\n" in head
    assert "accept-encoding: identity\r\n" in head
    assert "cookie" not in head
    assert "authorization" not in head


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["cache-control: max-age=60"], 60.0),
        (["cache-control: public, max-age=60"], 60.0),
        (["cache-control: MAX-AGE=60, must-revalidate"], 60.0),
        (['cache-control: max-age="60"'], 60.0),
        (["cache-control: max-age=60", "age: 20"], 40.0),
        (["cache-control: max-age=60", "age: 90"], 0.0),
        (["cache-control: max-age=60", "age: x"], 60.0),
        (["cache-control: no-store"], 0.0),
        (["cache-control: no-cache, max-age=60"], 0.0),
        (["cache-control: max-age=-1"], None),
        (["cache-control: max-age=x"], None),
        (["cache-control: max-age=99999999999999999999"], None),
        (["cache-control: max-age=60, max-age=90"], None),
        (["cache-control: s-maxage=60"], None),
        ([], None),
    ],
)
async def test_freshness_is_read(
    server: Server, fetcher: HttpFetcher, headers: list[str], expected: float | None
) -> None:
    """T53: max-age less age; nothing if the server says nothing, or two things."""
    server.answers["/"] = http(200, b"{}", *headers)
    assert (await fetcher.get(f"{server.url}/", OPEN)).max_age == expected


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 404, 429, 500, 503])
async def test_only_200_is_an_answer(server: Server, fetcher: HttpFetcher, status: int) -> None:
    """T55: any other status is a failure that names the host and the status."""
    server.answers["/k?token=secret"] = http(status, b"")
    text = await failure(fetcher, f"{server.url}/k?token=secret")
    assert text == f"127.0.0.1:{server.port}: answered {status}"


async def test_plain_http_must_be_allowed(server: Server, fetcher: HttpFetcher) -> None:
    """T51: HTTPS is the rule, and the error names the setting."""
    text = await failure(fetcher, f"{server.url}/", Settings(allow_http=False))
    assert "allowHttp" in text
    assert server.heads == []


async def test_private_addresses_must_be_allowed(server: Server, fetcher: HttpFetcher) -> None:
    """T52: loopback is not dialled unless it was asked for, by any of its names."""
    for host in ("127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]"):
        text = await failure(fetcher, f"http://{host}:{server.port}/", Settings(allow_private_addresses=False))
        assert "may not be dialled" in text
    assert server.heads == []


async def test_a_name_is_resolved_once(server: Server, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """T52: the connection goes to the address that was judged; a second DNS answer is never asked for."""
    answers = iter([[("127.0.0.1", server.port)], [("169.254.169.254", server.port)]])
    asked: list[str] = []

    async def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", sockaddr) for sockaddr in next(answers)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    server.answers["/"] = http(200, b"{}")
    url = f"http://keys.example.com:{server.port}/"
    assert (await fetcher.get(url, OPEN)).body == b"{}"
    assert asked == ["keys.example.com"]
    assert f"host: keys.example.com:{server.port}" in server.heads[0].lower()
    assert "may not be dialled" in await failure(fetcher, url)


async def test_a_dead_address_leaves_time_for_the_next(
    server: Server, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: of several addresses the first that answers is used."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, 0)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    server.answers["/"] = http(200, b"{}")
    assert (await fetcher.get(f"http://keys.example.com:{server.port}/", OPEN)).body == b"{}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_on_the_same_host(server: Server, fetcher: HttpFetcher, status: int) -> None:
    """T52: within one origin a redirect is followed."""
    server.answers["/a"] = http(status, b"", "location: /b?x=1")
    server.answers["/b?x=1"] = http(200, b"{}")
    assert (await fetcher.get(f"{server.url}/a", OPEN)).body == b"{}"


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/b",
        "http://evil.example/b",
        "//evil.example/b",
        "http://127.0.0.1:1/b",
        "http://127.0.0.1/b",
        "https://127.0.0.1:{port}/b",
        "http://user:pass@127.0.0.1:{port}/b",
        "file:///etc/passwd",
        "http://[broken",
        "http://127.0.0.1:{port}@evil.example/b",
    ],
)
async def test_redirects_lead_nowhere_else(server: Server, fetcher: HttpFetcher, location: str) -> None:
    """T52: another host, port or scheme, credentials and nonsense are not followed."""
    server.answers["/a"] = http(302, b"", "location: " + location.format(port=server.port))
    server.answers["/b"] = http(200, b"{}")
    await failure(fetcher, f"{server.url}/a")
    assert len(server.heads) == 1


async def test_redirects_are_counted(server: Server, fetcher: HttpFetcher) -> None:
    """T52: three are followed, not four, and not for ever."""
    for n in range(9):
        server.answers[f"/{n}"] = http(302, b"", f"location: /{n + 1}")
    server.answers["/9"] = http(200, b"{}")
    assert (await fetcher.get(f"{server.url}/6", OPEN)).body == b"{}"
    assert "redirects" in await failure(fetcher, f"{server.url}/5")
    server.answers["/loop"] = http(302, b"", "location: /loop")
    assert "redirects" in await failure(fetcher, f"{server.url}/loop")
    server.answers["/none"] = http(302, b"")
    assert "redirects" in await failure(fetcher, f"{server.url}/none")


async def test_size_is_limited(server: Server, fetcher: HttpFetcher) -> None:
    """T52: a body of 1 MiB is read, one byte more is not, whatever its announced length."""
    server.answers["/fits"] = http(200, b" " * MAX_BODY)
    server.answers["/large"] = http(200, b" " * (MAX_BODY + 1))

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            await writer.drain()

    server.answers["/endless"] = endless
    assert len((await fetcher.get(f"{server.url}/fits", OPEN)).body) == MAX_BODY
    assert "more than" in await failure(fetcher, f"{server.url}/large")
    assert "more than" in await failure(fetcher, f"{server.url}/endless")


async def test_compressed_answers_are_refused(server: Server, fetcher: HttpFetcher) -> None:
    """T52: nothing is inflated, so no small answer grows."""
    server.answers["/"] = http(200, b"\x1f\x8b", "content-encoding: gzip")
    assert "compressed" in await failure(fetcher, f"{server.url}/")


async def test_time_is_limited_in_all(server: Server) -> None:
    """I9: a server that says nothing, or a byte now and then, costs the deadline and no more."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def silence(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    server.answers |= {"/drip": drip, "/silence": silence}
    fetcher = HttpFetcher(deadline=0.2)
    for path in ("drip", "silence"):
        began = time.perf_counter()
        assert "no answer within 0.2 s" in await failure(fetcher, f"{server.url}/{path}")
        assert time.perf_counter() - began < 0.6


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 X\r\nbad header\r\n\r\n",
    ],
)
async def test_broken_answers_are_errors(server: Server, fetcher: HttpFetcher, answer: bytes) -> None:
    """T55: what is no whole HTTP answer is a failure, never a document."""
    server.answers["/"] = answer
    text = await failure(fetcher, f"{server.url}/")
    assert text.startswith(f"127.0.0.1:{server.port}: ")


async def test_a_closed_port_is_an_error(server: Server, fetcher: HttpFetcher) -> None:
    """T55: nobody there."""
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    assert "can't connect" in await failure(fetcher, f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/jwks",
        "jwks.json",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://user:pass@127.0.0.1/",
        "http://token@127.0.0.1/",
        "http://a b/",
        "http://" + "a" * 70 + ".example/",
        "http://a..b/",
        "http://\x00/",
        "http://127.0.0.1/\n",
        "unix:/run/x.sock",
    ],
)
async def test_what_is_no_fetchable_url_is_an_error(fetcher: HttpFetcher, url: str) -> None:
    """T52: only http and https URLs with a host and without credentials; the text repeats no credentials."""
    text = await failure(fetcher, url)
    assert "pass" not in text
    assert "token@" not in text


async def test_proxies_of_the_environment_are_ignored(
    server: Server, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T52: the guard judges the address that is dialled, so nothing else may choose it."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers["/"] = http(200, b"{}")
    assert (await fetcher.get(f"{server.url}/", OPEN)).body == b"{}"


async def test_cancelling_a_fetch_closes_its_connection(server: Server, fetcher: HttpFetcher) -> None:
    """I9: nothing lingers after a caller is gone."""
    waiting = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n")
        waiting.set()
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    server.answers["/"] = wait
    task = asyncio.create_task(fetcher.get(f"{server.url}/", OPEN))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        await asyncio.sleep(0.01)
        if server.hangups:
            break
    assert server.hangups == 1
