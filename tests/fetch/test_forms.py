"""Forms that are posted: the guards of a fetch, and what credentials need besides (docs/security.md T61, T64)."""

import asyncio
from typing import Any

import pytest

from extauthz.errors import UpstreamError
from extauthz.fetch import HttpFetcher
from extauthz.fetch.exchange import MAX_BODY
from tests.fetch.conftest import Authority, Server, Settings, http

OPEN = Settings()
FORM = {"token": "s3cret &=+/ö", "token_type_hint": "access_token"}
HEADERS = {"authorization": "Basic s3cret"}


async def failure(fetcher: HttpFetcher, url: str, settings: Settings = OPEN) -> str:
    with pytest.raises(UpstreamError) as caught:
        await fetcher.post(url, FORM, HEADERS, settings)
    text = str(caught.value)
    assert "s3cret" not in text
    return text


async def test_a_form_is_posted(server: Server, fetcher: HttpFetcher) -> None:
    """T61: form-encoded, with the headers given and JSON asked for; the answer has status, media type and body."""
    server.answers["/i"] = http(200, b"{}", "content-type: Application/JSON; charset=utf-8")
    answer = await fetcher.post(f"{server.url}/i", FORM, HEADERS, OPEN)
    assert (answer.status, answer.media_type, answer.body) == (200, "application/json", b"{}")
    head = server.heads[0].lower()
    assert head.startswith("post /i http/1.1\r\n")
    for line in (
        "authorization: basic s3cret",
        "content-type: application/x-www-form-urlencoded",
        "accept: application/json",
        "accept-encoding: identity",
        f"host: 127.0.0.1:{server.port}",
        f"content-length: {len('token=s3cret+%26%3D%2B%2F%C3%B6&token_type_hint=access_token')}",
    ):
        assert f"\r\n{line}\r\n" in head


async def test_json_is_posted(server: Server, fetcher: HttpFetcher) -> None:
    """On the same conditions: for endpoints that take an object instead of a form."""
    server.answers["/i"] = http(200, b"{}", "content-type: application/json")
    answer = await fetcher.post_json(f"{server.url}/i", {"token": "s3cret"}, OPEN)
    assert (answer.status, answer.body) == (200, b"{}")
    head = server.heads[0].lower()
    assert head.startswith("post /i http/1.1\r\n")
    assert "\r\ncontent-type: application/json\r\n" in head
    assert "\r\ncontent-length: 19\r\n" in head


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("0", 0.0), ("-1", None), ("1e9", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("9" * 20, None)],
)
async def test_a_pause_that_is_asked_for(
    server: Server, fetcher: HttpFetcher, said: str, seconds: float | None
) -> None:
    """Seconds, as everybody writes it; nothing else is taken for one."""
    server.answers["/i"] = http(503, b"{}", f"retry-after: {said}")
    assert (await fetcher.post(f"{server.url}/i", FORM, HEADERS, OPEN)).retry_after == seconds


@pytest.mark.parametrize("status", [201, 204, 301, 302, 303, 307, 308, 400, 401, 429, 500, 503])
async def test_any_status_is_an_answer(server: Server, fetcher: HttpFetcher, status: int) -> None:
    """T64: what a status means is for the asker; a redirect is an answer too, and is not followed even to the same host."""
    server.answers["/i"] = http(status, b"", "location: /elsewhere")
    server.answers["/elsewhere"] = http(200, b"{}")
    answer = await fetcher.post(f"{server.url}/i", FORM, HEADERS, OPEN)
    assert (answer.status, answer.media_type) == (status, "")
    assert len(server.heads) == 1


async def test_the_guards_of_a_fetch_hold(server: Server, fetcher: HttpFetcher) -> None:
    """T52: plain HTTP, private addresses and credentials in the URL are refused before anything is sent."""
    assert "allowHttp" in await failure(fetcher, f"{server.url}/i", Settings(allow_http=False))
    assert "may not be dialled" in await failure(fetcher, f"{server.url}/i", Settings(allow_private_addresses=False))
    assert "must not hold credentials" in await failure(fetcher, f"http://u:p@127.0.0.1:{server.port}/i")
    assert server.heads == []


async def test_sizes_and_forms_are_bounded(server: Server, fetcher: HttpFetcher) -> None:
    """T52: a body over the bound, a compressed one and no HTTP at all are failures, whatever the status."""
    server.answers["/large"] = http(500, b" " * (MAX_BODY + 1))
    server.answers["/packed"] = http(200, b"x", "content-encoding: gzip")
    server.answers["/garbage"] = b"garbage\r\n\r\n"
    assert "more than" in await failure(fetcher, f"{server.url}/large")
    assert "compressed" in await failure(fetcher, f"{server.url}/packed")
    assert "not an HTTP answer" in await failure(fetcher, f"{server.url}/garbage")


async def test_silence_ends(server: Server) -> None:
    """I9: a server that says nothing costs the deadline and no more."""

    async def silent(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    server.answers["/i"] = silent
    assert "no answer within 0.1 s" in await failure(HttpFetcher(deadline=0.1), f"{server.url}/i")


async def test_the_bearer_of_a_fetch_is_not_sent(server: Server, fetcher: HttpFetcher, tmp_path: Any) -> None:
    """The token for key sets is not for forms, which bring credentials of their own."""
    file = tmp_path / "token"
    file.write_text("other")
    server.answers["/i"] = http(200, b"{}")
    await fetcher.post(f"{server.url}/i", FORM, {}, Settings(token_file=str(file)))
    assert "authorization" not in server.heads[0].lower()


async def test_forms_over_tls(secure: Server, authority: Authority, fetcher: HttpFetcher) -> None:
    """T61: the server's certificate is verified before anything is sent."""
    secure.answers["/i"] = http(200, b"{}")
    url = f"https://127.0.0.1:{secure.port}/i"
    assert "can't connect" in await failure(fetcher, url)
    assert secure.heads == []
    assert (await fetcher.post(url, FORM, HEADERS, Settings(ca_file=authority.file))).status == 200


async def test_a_name_is_looked_up_once_at_a_time(
    server: Server, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F6: a name server that does not answer holds one thread for a name, and not one for each question."""
    asked: list[str] = []
    there = asyncio.Event()

    async def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        await there.wait()
        return [(2, 1, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    server.answers["/i"] = http(200, b"{}")
    url = f"http://login.example.com:{server.port}/i"
    impatient, *others = (asyncio.create_task(fetcher.post(url, FORM, {}, OPEN)) for _ in range(20))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    there.set()
    assert [answer.status for answer in await asyncio.gather(*others)] == [200] * 19
    assert asked == ["login.example.com"]
    await fetcher.post(url, FORM, {}, OPEN)
    assert len(asked) == 2
