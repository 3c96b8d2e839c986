"""The http listener over real sockets: what is asked, what is answered, and what nobody can cost it."""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from extauthz.serving.embedded import ConnectionLimits
from extauthz.serving.http_listener import HttpCounts, HttpLimits, HttpServer
from extauthz.serving.listener import Listener, TlsFiles, parse_address
from extauthz.serving.sockets import SharedSocket
from extauthz.tokens.http import HttpAnswer
from tests.serving.clerk import Begin, Clerk, ask


async def say(address: str, *parts: bytes, read: float = 5.0) -> bytes:
    """What a raw connection is answered until it is closed."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(read):
            return await reader.read()
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


async def test_a_request_is_a_question(begin_http: Begin, clerk: Clerk) -> None:
    """With its path as it was sent, every value of a header, its body, and where it is from."""
    address = await begin_http()
    headers = [("x-twice", "one"), ("X-Twice", "two")]
    await ask(f"http://{address}/oauth2/%74oken?a=b%20c", "POST", headers=headers, content=b"grant_type=x")
    [question] = clerk.asked
    assert (question.method, question.path, question.query) == ("POST", "/oauth2/%74oken", "a=b%20c")
    assert question.headers["x-twice"] == ("one", "two")
    assert (question.body, question.address, question.certificate) == (b"grant_type=x", "127.0.0.1", None)


async def test_an_answer_is_kept_by_nobody_and_says_nothing_of_the_server(begin_http: Begin, clerk: Clerk) -> None:
    """Unless it says so itself; a length of its own counts for nothing."""
    address = await begin_http()
    answer = await ask(f"http://{address}/")
    assert (answer.status_code, answer.json()) == (200, {"fine": True})
    assert dict(answer.headers) == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-length": "14",
    }
    clerk.answer = HttpAnswer(200, (("Cache-Control", "max-age=300"), ("content-length", "3")), b"abcdef")
    answer = await ask(f"http://{address}/")
    assert (answer.headers["cache-control"], answer.content) == ("max-age=300", b"abcdef")


async def test_an_answer_goes_out_as_one(begin_http: Begin) -> None:
    """Header and body: one packet and one call of the kernel. While it makes two, Checks of this process wait."""
    host, _, port = (await begin_http()).rpartition(":")

    def answers() -> list[bytes]:
        with socket.create_connection((host, int(port)), 5) as client:
            received = []
            for _ in range(20):
                client.sendall(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
                received.append(client.recv(65536))
            return received

    assert [answer.count(b'{"fine": true}') for answer in await asyncio.to_thread(answers)] == [1] * 20


async def test_head_is_a_get_without_its_body(begin_http: Begin, clerk: Clerk) -> None:
    """The headers are those of GET."""
    answer = await ask(f"http://{await begin_http()}/.well-known/jwks.json", "HEAD")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "14", b"")
    assert clerk.asked[0].method == "GET"


async def test_an_answer_without_a_body_has_none(begin_http: Begin, clerk: Clerk) -> None:
    """204 has no length either, and the connection goes on."""
    address = await begin_http()
    clerk.answer = HttpAnswer(204, (), b"lost")
    async with httpx2.AsyncClient() as client:
        for _ in range(2):
            answer = await client.get(f"http://{address}/")
            assert (answer.status_code, answer.content, "content-length" in answer.headers) == (204, b"", False)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_body_is_refused(begin_http: Begin, clerk: Clerk, *, chunked: bool) -> None:
    """413, whether it says its length or not, and nobody is asked; the largest one that may be is heard."""
    address = await begin_http()

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(66):
            yield b"x" * 1024

    answer = await ask(f"http://{address}/", "POST", content=parts() if chunked else b"x" * 65537)
    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_request")
    assert answer.headers["connection"] == "close"
    assert not clerk.asked
    assert (await ask(f"http://{address}/", "POST", content=b"x" * 65536)).status_code == 200
    assert len(clerk.asked[0].body) == 65536


async def test_a_client_that_asks_first_is_not_invited_to_send_too_much(begin_http: Begin) -> None:
    """Expect: 100-continue gets the refusal instead."""
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n"
    said = await say(await begin_http(), head)
    assert said.startswith(b"HTTP/1.1 413 ") or b"\r\n\r\nHTTP/1.1 413 " in said


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nbad header: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-long: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_not_logged(begin_http: Begin, request_bytes: bytes) -> None:
    """400 as JSON, or the connection is just closed; the log is not the client's to fill."""
    address = await begin_http()
    with capture_logs() as logs:
        said = await say(address, request_bytes)
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")) or said == b"reset"
    assert b"uvicorn" not in said
    assert not logs
    assert (await ask(f"http://{address}/")).status_code == 200


async def test_two_lengths_are_no_length(begin_http: Begin, clerk: Clerk) -> None:
    """Whoever stands in front may have believed the other one: the rest is not taken for a request (smuggling)."""
    said = await say(
        await begin_http(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n\r\nPOST /oauth2/revoke HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 400 ")
    assert not clerk.asked


async def test_http_1_0_knows_no_chunks(begin_http: Begin, clerk: Clerk) -> None:
    """Who speaks it may have passed them on without looking: how long the body is, nobody has said (RFC 9112 section 6.1)."""
    said = await say(
        await begin_http(), b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in said.lower()
    assert not clerk.asked


async def test_requests_in_a_row_are_answered_in_order(begin_http: Begin, clerk: Clerk) -> None:
    """Also if the client does not wait for the answers (pipelining)."""
    address = await begin_http()
    request = b"GET /%d HTTP/1.1\r\nhost: a\r\n%s\r\n"
    said = await say(address, *(request % (n, b"connection: close\r\n" if n == 4 else b"") for n in range(5)))
    assert said.count(b"HTTP/1.1 200 ") == 5
    assert [question.path for question in clerk.asked] == ["/0", "/1", "/2", "/3", "/4"]


async def test_a_header_that_does_not_come_is_not_waited_for(begin_http: Begin, clerk: Clerk) -> None:
    """Neither on a new connection nor on one that had an answer, however steadily it trickles."""
    address = await begin_http(connection={"header_seconds": 0.2})
    assert not await say(address, b"GET / HTTP/1.1\r\n")
    assert not await say(address)
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b"200" in await reader.readuntil(b"true}")
    clerk.asked.clear()
    async with asyncio.timeout(5):
        while not reader.at_eof():
            writer.write(b"G")
            try:
                await asyncio.wait_for(reader.read(), 0.05)
            except (TimeoutError, ConnectionError):
                continue
    writer.close()
    assert not clerk.asked


async def test_a_body_that_does_not_come_is_not_waited_for(begin_http: Begin, clerk: Clerk) -> None:
    """408, and nobody is asked."""
    address = await begin_http(body_seconds=0.1)
    said = await say(address, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n", b"half")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert not clerk.asked


async def test_a_connection_at_rest_is_closed(begin_http: Begin) -> None:
    """After its time."""
    address = await begin_http(connection={"idle_seconds": 0})
    said = await say(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")


async def test_an_old_connection_ends_with_its_answer(begin_http: Begin) -> None:
    """So that clients spread over new replicas."""
    answer = await ask(f"http://{await begin_http(age=0.0)}/")
    assert answer.headers["connection"] == "close"


async def test_more_requests_than_may_be_come_back_later(begin_http: Begin, clerk: Clerk, eventually: Any) -> None:
    """503 with Retry-After, at once; those under way are answered."""
    address = await begin_http(in_flight=2)
    clerk.free.clear()
    first = [asyncio.ensure_future(ask(f"http://{address}/")) for _ in range(2)]
    await eventually(lambda: len(clerk.asked) == 2)
    refused = await ask(f"http://{address}/")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"] == "temporarily_unavailable"
    clerk.free.set()
    assert [answer.status_code for answer in await asyncio.gather(*first)] == [200, 200]
    assert (await ask(f"http://{address}/")).status_code == 200


async def test_an_answer_that_takes_too_long_is_not_waited_for(begin_http: Begin, clerk: Clerk) -> None:
    """503 with Retry-After when the deadline is over."""
    clerk.free.clear()
    answer = await ask(f"http://{await begin_http(deadline=0.1)}/")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_client_that_does_not_read_holds_nothing_for_long(
    begin_http: Begin, clerk: Clerk, eventually: Any
) -> None:
    """It is cut off when the deadline is over, however large the answer."""
    clerk.answer = HttpAnswer(200, (), b"x" * 50_000_000)
    address = await begin_http(deadline=0.2)
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2)
    await eventually(lambda: clerk.done)
    await asyncio.sleep(0.4)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(60_000_000)
    writer.close()


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("token eyJhbGciOi.secret"),
        HttpAnswer(200, (("x-evil", "a\r\nset-cookie: b"),)),
        HttpAnswer(200, (("bad name", "a"),)),
        HttpAnswer(200, (("x-snow", "\N{SNOWMAN}"),)),
        HttpAnswer(100, ()),
    ],
)
async def test_a_fault_says_nothing_of_itself(begin_http: Begin, clerk: Clerk, fault: Any) -> None:
    """500 as JSON, a log line without the text, and the next request is answered."""
    address = await begin_http()
    clerk.answer = fault
    with capture_logs() as logs:
        answer = await ask(f"http://{address}/", "POST", content=b"client_secret=hunter2")
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert "evil" not in str(answer.headers)
    [line] = logs
    assert line["log_level"] == "error"
    assert not any(word in json.dumps(line) for word in ("eyJ", "hunter2", "evil"))
    clerk.answer = HttpAnswer(200)
    assert (await ask(f"http://{address}/")).status_code == 200


async def test_what_was_begun_is_done_although_the_client_left(
    begin_http: Begin, clerk: Clerk, eventually: Any
) -> None:
    """A revocation that a client did not wait for is one."""
    address = await begin_http()
    clerk.free.clear()
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
    await eventually(lambda: clerk.asked)
    writer.close()
    await asyncio.sleep(0.05)
    clerk.free.set()
    await eventually(lambda: clerk.done)


async def test_the_silent_give_way(begin_http: Begin) -> None:
    """However many connections say nothing, who speaks is served, and what was taken is let go."""
    address = await begin_http(connection={"connections": 8})
    host, _, port = address.rpartition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
    for _, writer in silent[::2]:
        writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
    for _ in range(3):
        async with asyncio.timeout(2):
            assert (await ask(f"http://{address}/")).status_code == 200
    ended = 0
    for reader, writer in silent:
        try:
            ended += await asyncio.wait_for(reader.read(), 0.01) == b""
        except ConnectionError:
            ended += 1
        except TimeoutError:
            pass
        writer.close()
    assert ended >= 32


async def test_handshakes_that_do_not_begin_give_way(
    begin_http: Begin, tls_files: Callable[..., TlsFiles], authority: Any
) -> None:
    """The same before TLS knows anything of them."""
    address = await begin_http(tls=tls_files(), connection={"connections": 8})
    host, _, port = address.rpartition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
    context = ssl.create_default_context(cadata=authority.pem.decode())
    async with asyncio.timeout(2):
        assert (await ask(f"https://{address}/", verify=context)).status_code == 200
    for _, writer in silent:
        writer.close()


async def test_those_who_are_being_answered_stay(begin_http: Begin, clerk: Clerk, eventually: Any) -> None:
    """While every connection has a request under way, others wait in the queue of the kernel, and are taken then."""
    address = await begin_http(connection={"connections": 3})
    clerk.free.clear()
    busy = [asyncio.ensure_future(ask(f"http://{address}/")) for _ in range(3)]
    await eventually(lambda: len(clerk.asked) == 3)
    waiting = asyncio.ensure_future(ask(f"http://{address}/late"))
    await asyncio.sleep(0.1)
    assert len(clerk.asked) == 3
    clerk.free.set()
    answers = await asyncio.gather(*busy, waiting)
    assert [answer.status_code for answer in answers] == [200] * 4


async def test_a_unix_socket_has_no_address(begin_http: Begin, clerk: Clerk, tmp_path: Path) -> None:
    """Who is at the other end is somebody of this machine."""
    await begin_http(f"unix:{tmp_path}/http.sock")
    transport = httpx2.AsyncHTTPTransport(uds=str(tmp_path / "http.sock"))
    assert (await ask("http://tokens/", transport=transport)).status_code == 200
    assert clerk.asked[0].address == ""


async def test_an_ipv4_client_has_an_ipv4_address(begin_http: Begin, clerk: Clerk) -> None:
    """Also on a socket for both families."""
    bound = await begin_http("[::]:0")
    await ask(f"http://127.0.0.1:{bound.rpartition(':')[2]}/")
    assert clerk.asked[0].address == "127.0.0.1"


async def test_processes_share_one_socket(clerk: Clerk) -> None:
    """Each takes connections from it; when one stops, the others go on, and nothing in the queue is lost."""
    shared = SharedSocket("listen.http", Listener(parse_address("127.0.0.1:0")))
    servers = [HttpServer(Listener(shared.address), clerk) for _ in range(2)]
    for server in servers:
        assert server.adopt(os.dup(shared.descriptor)) == shared.address
        await server.start()
    assert (await ask(f"http://{shared.address}/")).status_code == 200
    await servers[0].stop()
    answers = await asyncio.gather(*(ask(f"http://{shared.address}/") for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    await servers[1].stop()
    waiting = asyncio.ensure_future(ask(f"http://{shared.address}/"))
    await asyncio.sleep(0.05)
    third = HttpServer(Listener(shared.address), clerk)
    third.adopt(os.dup(shared.descriptor))
    await third.start()
    assert (await waiting).status_code == 200
    await third.stop()
    shared.close()
    with pytest.raises(httpx2.ConnectError):
        await ask(f"http://{shared.address}/")


async def test_a_stop_lets_requests_finish(clerk: Clerk, eventually: Any) -> None:
    """Within the grace; a second one ends them at once."""
    for patient in (True, False):
        server = HttpServer(Listener(parse_address("127.0.0.1:0")), clerk)
        address = server.bind()
        await server.start()
        clerk.free.clear()
        clerk.asked.clear()
        under_way = asyncio.ensure_future(ask(f"http://{address}/"))
        await eventually(lambda: clerk.asked)
        stopping = asyncio.ensure_future(server.stop(5))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        if patient:
            clerk.free.set()
            assert (await under_way).status_code == 200
        else:
            await server.stop(0)
            with pytest.raises(httpx2.TransportError):
                await under_way
        async with asyncio.timeout(2):
            await stopping


class Watcher:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.counts: Callable[[], HttpCounts] = lambda: HttpCounts(0, 0, 0, 0)
        self.told: list[Any] = []

    def watch(self, counts: Callable[[], HttpCounts]) -> None:
        self.counts = counts

    def begin(self, method: str, path: str, headers: Any) -> Any:
        return method, path, headers.get("traceparent")

    def finish(self, begun: Any, method: str, status: int) -> None:
        self.told.append((*begun, status))

    def abandon(self, begun: Any) -> None:
        self.told.append((*begun, "gone"))


async def test_each_request_is_observed_once_with_its_status(clerk: Clerk) -> None:
    """Those that nobody was asked about as well; a client that left has no status, and what is no request only a count."""
    watcher = Watcher()
    limits = HttpLimits(connection=ConnectionLimits(connections=2), body_bytes=10)
    server = HttpServer(Listener(parse_address("127.0.0.1:0")), clerk, None, limits, watcher)
    address = str(server.bind())
    await server.start()
    try:
        await ask(f"http://{address}/a", headers={"traceparent": "t"})
        await ask(f"http://{address}/b", "POST", content=b"x" * 11)
        await say(address, b"POST /c HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab", b"", read=0.2)
    except TimeoutError:
        pass
    await say(address, b"nonsense\r\n\r\n")
    silent = [await asyncio.open_connection(*address.split(":")) for _ in range(2)]
    await asyncio.sleep(0.05)
    clerk.free.clear()
    asking = asyncio.create_task(ask(f"http://{address}/d"))
    while len(clerk.asked) < 2:  # noqa: ASYNC110 - the clerk says nothing
        await asyncio.sleep(0.01)
    counts = watcher.counts()
    assert (counts.in_flight, counts.connections, counts.cut, counts.malformed) == (1, 2, 1, 1)
    clerk.free.set()
    await asking
    for _, writer in silent:
        writer.close()
    await server.stop(0)
    assert sorted(watcher.told, key=lambda one: one[1]) == [
        ("GET", "/a", ("t",), 200),
        ("POST", "/b", None, 413),
        ("POST", "/c", None, "gone"),
        ("GET", "/d", None, 200),
    ]
    assert watcher.counts().in_flight == 0
