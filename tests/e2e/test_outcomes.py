"""Every answer that extauthz can give, as a client of a real Envoy sees it."""

import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path

import grpc
import httpx2
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from extauthz.model import Allow, Decision, Deny, Reason
from extauthz.serving.transport import Call
from extauthz.wire import Encoder, decode
from mesh.address import free_address
from mesh.options import TcpListener
from tests.e2e.conftest import StartEnvoy, StartServer
from tests.journey import Journey, policies

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(60)]

BY_WORD = {reason.word: reason for reason in Reason}
DENIALS = [reason for reason in Reason if reason is not Reason.ALLOWED]
GRPC_PATH = "/demo.echo.v1.Echo/Say"


def scripted(message: bytes, call: Call) -> bytes:
    """Answer with the reason that the request asks for, and with headers where it is ``allowed``."""
    http = decode(message).http
    assert http is not None
    reason = BY_WORD[http.headers["x-reason"][0]]
    verdict: Allow | Deny
    if reason is Reason.ALLOWED:
        verdict = Allow("p", "r", (("x-auth-subject", "alice"),), ("authorization", "x-auth-roles"))
    else:
        verdict = Deny(reason, policy="p", rule="r")
    grpc_caller = http.headers.get("content-type", ("",))[0] == "application/grpc"
    return Encoder().encode(Decision("d-1", verdict, 1, grpc=grpc_caller))


async def call(address: str, metadata: list[tuple[str, str]]) -> grpc.aio.AioRpcError | str:
    """Say hello over gRPC; the answer, or the error that the client sees."""
    async with grpc.aio.insecure_channel(address) as channel:
        say = channel.unary_unary(
            GRPC_PATH, request_serializer=StringValue.SerializeToString, response_deserializer=StringValue.FromString
        )
        try:
            answer = await say(StringValue(value="hello"), metadata=metadata, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error
        return str(answer.value)


async def test_every_denial_reaches_http_clients_as_the_table_says(
    start_server: StartServer, start_envoy: StartEnvoy
) -> None:
    """Status, body, challenge and Retry-After arrive as they were sent (rows 1 and 2 of the outcome matrix)."""
    async with (
        start_server(scripted) as authz,
        start_envoy(authz) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        for reason in DENIALS:
            answer = await client.get("/orders", headers={"x-reason": reason.word})
            assert answer.status_code == reason.http, reason
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["decision_id"] == "d-1"
            assert ("www-authenticate" in answer.headers) == (reason.challenge is not None)
            assert ("retry-after" in answer.headers) == (reason.http == 503)
        stats = envoy.stats("ext_authz")
    assert sum(value for name, value in stats.items() if name.endswith("ext_authz.denied")) >= len(DENIALS)
    assert sum(value for name, value in stats.items() if name.endswith("ext_authz.error")) == 0


async def test_every_denial_reaches_grpc_clients_with_its_code(
    start_server: StartServer, start_envoy: StartEnvoy
) -> None:
    """``grpc-status`` of ours wins over Envoy's map of HTTP codes, and the body is the message."""
    async with start_server(scripted) as authz, start_envoy(authz) as envoy:
        for reason in DENIALS:
            error = await call(envoy.options.listen, [("x-reason", reason.word)])
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code().value[0] == reason.grpc, reason
            assert "d-1" in str(error.details())


async def test_an_allow_reaches_the_upstream_with_our_headers_only(
    start_server: StartServer, start_envoy: StartEnvoy
) -> None:
    """Set, overwritten, removed: whatever the client sent under those names is gone (I5)."""
    spoofed = {"x-reason": "allowed", "x-auth-subject": "root", "x-auth-roles": "admin", "authorization": "Bearer x"}
    async with (
        start_server(scripted) as authz,
        # A plain connection manager strips nothing by itself: what is gone was removed by the answer.
        start_envoy(authz, edge=False) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        seen = (await client.get("/orders?a=1", headers=spoofed)).json()
    headers = [(name, value) for name, value in seen["headers"] if name.startswith("x-auth") or name == "authorization"]
    assert headers == [("x-auth-subject", "alice")]
    assert seen["query"] == "a=1"


async def test_a_token_in_the_query_does_not_reach_the_upstream(
    start_server: StartServer, start_envoy: StartEnvoy
) -> None:
    """T11: however its name is spelled; the rest of the query does."""
    name = "%61ccess_token"
    allow = Encoder().encode(Decision("d-1", Allow("p", "r"), 1, spent_parameter=name))
    async with (
        start_server(lambda message, call: allow) as authz,
        start_envoy(authz) as envoy,
        httpx2.AsyncClient() as client,
    ):
        seen = (await client.get(f"{envoy.url}/orders?b=2&{name}=eyJ-canary&a=1")).json()
    assert "canary" not in json.dumps(seen)
    assert sorted(seen["query"].split("&")) == ["a=1", "b=2"]


async def test_grpc_calls_are_allowed_too(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """The answer comes from the service itself."""
    async with start_server(scripted) as authz, start_envoy(authz) as envoy:
        assert await call(envoy.options.listen, [("x-reason", "allowed")]) == "hello"


async def test_grpc_web_callers_get_http_answers(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """Envoy makes trailers for ``application/grpc`` alone; a browser's client reads status and body."""
    headers = {"x-reason": "role-missing", "content-type": "application/grpc-web+proto"}
    async with (
        start_server(scripted) as authz,
        start_envoy(authz) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        answer = await client.post("/demo.echo.v1.Echo/Say", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["title"] == "Forbidden"


async def test_a_head_request_is_denied_without_a_body(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """The status and the headers say it all."""
    async with (
        start_server(scripted) as authz,
        start_envoy(authz) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        answer = await client.head("/orders", headers={"x-reason": "no-credentials"})
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("port_in_rule", "passes"), [(True, True), (False, False)])
async def test_connections_of_the_tcp_filter_are_judged_by_their_port(
    start_server: StartServer, start_envoy: StartEnvoy, upstreams: tuple[str, str], *, port_in_rule: bool, passes: bool
) -> None:
    """A rule that names just the port lets a connection through; a denied one is closed without a word."""
    address = free_address()
    port = int(address.rpartition(":")[2])
    rule = {"role": "anonymous", "to": [{"ports": [port if port_in_rule else 1]}]}
    spec = {"authentication": {"optional": True}, "rules": [rule]}
    document = {
        "apiVersion": "security.example.com/v1",
        "kind": "AuthPolicy",
        "metadata": {"name": "tcp"},
        "spec": spec,
    }
    journey = Journey(policies(json.dumps(document)), clock=time.monotonic, deadline=5)
    async with (
        start_server(journey.handler) as authz,
        start_envoy(authz, tcp=TcpListener(address, upstreams[0])),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        try:
            answer = await asyncio.wait_for(reader.read(), 5)
        except ConnectionResetError:
            answer = b""
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200") is passes
    assert journey.watcher.finished[0].verdict.reason is (Reason.ALLOWED if passes else Reason.NO_RULE)


async def test_a_message_over_the_limit_is_an_error_and_not_an_allow(
    start_server: StartServer, start_envoy: StartEnvoy
) -> None:
    """The one RPC error that the transport gives: Envoy answers with status_on_error, 503."""
    async with (
        start_server(scripted, max_message_bytes=4096) as authz,
        start_envoy(authz, authz_retries=0) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        answer = await client.get("/orders", headers={"x-reason": "allowed", "x-big": "x" * 6000})
        assert answer.status_code == 503
        assert (await client.get("/orders", headers={"x-reason": "allowed"})).status_code == 200


async def test_a_handler_that_fails_denies(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """An exception is an answer with status 500, counted as a denial by Envoy and not as an error."""

    def fail(message: bytes, call: Call) -> bytes:
        raise RuntimeError("a fault")

    async with (
        start_server(fail) as authz,
        start_envoy(authz) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        assert (await client.get("/orders")).status_code == 500
        stats = envoy.stats("ext_authz.denied")
    assert max(stats.values()) == 1


async def test_no_server_means_no_request(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """Without an authorization server every request gets 503: nothing fails open."""
    async with start_server(scripted) as authz:
        pass
    async with start_envoy(authz) as envoy, httpx2.AsyncClient(base_url=envoy.url) as client:
        answer = await client.get("/orders", headers={"x-reason": "allowed"})
    assert answer.status_code == 503


async def test_an_answer_after_the_deadline_is_no_answer(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """A server that hangs costs the request Envoy's timeout, and the request is denied."""

    async def hang() -> bytes:
        await asyncio.sleep(30)
        return b""

    async with (
        start_server(lambda message, call: hang()) as authz,
        start_envoy(authz, authz_timeout=timedelta(milliseconds=250), authz_retries=0) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        assert (await client.get("/orders")).status_code == 503


async def test_a_check_may_take_as_long_as_its_timeout(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """Envoy ends each attempt after the back-off's longest interval, so the recommended one is the whole timeout."""

    async def slowly(message: bytes, call: Call) -> bytes:
        await asyncio.sleep(0.3)
        return scripted(message, call)

    async with (
        start_server(slowly) as authz,
        start_envoy(authz, authz_timeout=timedelta(seconds=2)) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        answer = await client.get("/orders", headers={"x-reason": "allowed"})
    assert answer.status_code == 200


async def test_the_access_log_says_why(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """Reason, policy, rule and decision id are in the dynamic metadata that the recommended log prints."""
    async with (
        start_server(scripted) as authz,
        start_envoy(authz) as envoy,
        httpx2.AsyncClient(base_url=envoy.url) as client,
    ):
        await client.get("/orders", headers={"x-reason": "role-missing"})
        line = await first_line(Path(envoy.options.access_log or ""))
    text = json.dumps(json.loads(line))
    for word in ("role-missing", "d-1", '"p"', '"r"'):
        assert word in text


async def first_line(log: Path) -> str:
    """The first line of a log that is about to be written."""

    def wait() -> str:
        deadline = time.monotonic() + 20
        while not (text := log.read_text()):
            if time.monotonic() > deadline:
                pytest.fail(f"nothing was written to {log.name}")
            time.sleep(0.02)
        return text.splitlines()[0]

    return await asyncio.to_thread(wait)
