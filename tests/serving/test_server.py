"""The life of a server: start, readiness, drain, stop."""

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from extauthz.errors import PolicyError, ServingError
from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.listener import Listener, TlsFiles, parse_address
from extauthz.serving.readiness import Readiness
from extauthz.serving.reload import PolicyReloader
from extauthz.serving.server import HttpParts, Server, ServerParts, serve
from extauthz.serving.transport import CHECK_METHOD, CHECK_SERVICE, Call
from extauthz.tokens.http import HttpAnswer, HttpQuestion

Make = Callable[..., ServerParts]
Begin = Callable[..., Awaitable[Server]]
Connect = Callable[..., Any]
Ask = Callable[..., Coroutine[Any, Any, bytes]]
Eventually = Callable[..., Awaitable[None]]

pb: Any = health_pb2
SERVING = 1


def echo(message: bytes, call: Call) -> bytes:
    return b"ok"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Parts of a server with policies in tmp_path/policies, on ports that the system chooses."""
    folder = tmp_path / "policies"
    folder.mkdir()

    def parts(
        handler: Any = echo,
        *,
        check: Listener | None = None,
        admin: Listener | None = None,
        providers: tuple[str, ...] = (),
        load: Any = lambda texts, generation: generation,
        **more: Any,
    ) -> ServerParts:
        readiness = Readiness(providers)
        policies: Any = PolicyReloader([str(folder)], load, lambda _: None, readiness, lambda *_: None)
        timing: dict[str, Any] = {"drain_delay": 0.0, "grace": 1.0}
        return ServerParts(
            check=check or Listener(parse_address("127.0.0.1:0")),
            admin=admin or Listener(parse_address("127.0.0.1:0")),
            handler=handler,
            fallback=b"denied",
            policies=policies,
            readiness=readiness,
            metrics=lambda _: (b"", "text/plain"),
            **{**timing, **more},
        )

    return parts


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Starts a server, and stops it at the end of the test if that has not been done."""
    async with AsyncExitStack() as stack:

        async def start(parts: ServerParts) -> Server:
            server = Server(parts)
            await server.start()
            stack.push_async_callback(server.stop)
            stack.callback(server.hurry)
            return server

        yield start


async def health(channel: Any) -> int:
    """What a health check of Envoy's kind gets; 0 if it fails."""
    with suppress(grpc.aio.AioRpcError):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(pb.HealthCheckRequest(service=CHECK_SERVICE), timeout=1)).status)
    return 0


async def readyz(server: Server) -> tuple[int, str]:
    async with httpx2.AsyncClient(verify=False) as client:
        answer = await client.get(f"http://{server.admin_address}/readyz?verbose")
    return answer.status_code, answer.text


async def test_a_server_starts_serves_and_stops(make: Make, begin: Begin, connect: Connect, ask: Ask) -> None:
    """After start both listeners answer on the ports they report; after stop neither does."""
    server = await begin(make())
    channel = connect(str(server.check_address))
    assert await ask(channel) == b"ok"
    assert await health(channel) == SERVING
    assert (await readyz(server))[0] == 200
    await server.stop()
    await server.wait()
    with pytest.raises(grpc.aio.AioRpcError):
        await ask(channel, timeout=1)
    with pytest.raises(httpx2.ConnectError):
        await readyz(server)


async def test_health_waits_for_the_first_word_of_each_provider(
    make: Make, begin: Begin, connect: Connect, ask: Ask, eventually: Eventually
) -> None:
    """Until a provider's first fetch has ended health is NOT_SERVING, though Checks are answered."""
    parts = make(providers=("corporate",))
    server = await begin(parts)
    channel = connect(str(server.check_address))
    assert await health(channel) != SERVING
    status, text = await readyz(server)
    assert (status, "[-] provider corporate: not yet" in text) == (503, True)
    assert await ask(channel) == b"ok"
    parts.readiness.provider_told("corporate", ok=False, text="connection refused")
    assert await health(channel) == SERVING


async def test_a_provider_that_hangs_is_not_waited_for_forever(
    make: Make, begin: Begin, eventually: Eventually
) -> None:
    """After the time for the first fetch the server is ready without the provider."""
    parts = make(providers=("slow",), first_fetch=0.05)
    await begin(parts)
    assert not parts.readiness.ready
    await eventually(lambda: parts.readiness.ready)


async def test_broken_policies_end_the_start_before_anything_is_open(make: Make, tmp_path: Path) -> None:
    """A set that can't be used at the start is raised, and no socket was opened."""

    def refuse(texts: Any, generation: int) -> Any:
        raise PolicyError([])

    server = Server(make(load=refuse))
    with pytest.raises(PolicyError):
        await server.start()
    assert server.check_address is None


async def test_a_dangerous_listener_ends_the_start(make: Make) -> None:
    """Plaintext on an address that others reach is refused, for both listeners at once."""
    public = Listener(parse_address("0.0.0.0:0"))
    with pytest.raises(ServingError) as caught:
        await Server(make(check=public, admin=public)).start()
    assert "listen.check.plaintext: true" in str(caught.value)
    assert "listen.admin.plaintext: true" in str(caught.value)


async def test_a_start_that_fails_leaves_nothing_open(make: Make, begin: Begin, tmp_path: Path) -> None:
    """If the second listener can't be opened, the first is closed again."""
    running = await begin(make())
    taken = Listener(parse_address(str(running.admin_address)))
    check = Listener(parse_address(f"unix:{tmp_path}/check.sock"))
    with pytest.raises(ServingError, match=r"listen\.admin\.address: .* in use"):
        await Server(make(check=check, admin=taken)).start()
    assert not (tmp_path / "check.sock").exists()


async def test_unix_sockets_are_gone_after_a_stop(make: Make, begin: Begin, tmp_path: Path) -> None:
    """Both sockets have their mode while the server runs, and are removed when it stops."""
    paths = [tmp_path / "check.sock", tmp_path / "admin.sock"]
    check, admin = (Listener(parse_address(f"unix:{path}"), socket_mode=0o600) for path in paths)
    server = await begin(make(check=check, admin=admin))
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600, 0o600]
    await server.stop()
    assert [path.exists() for path in paths] == [False, False]


async def test_the_drain_is_seen_before_anything_closes(
    make: Make, begin: Begin, connect: Connect, ask: Ask, eventually: Eventually
) -> None:
    """During the drain delay health and /readyz say no, a watch is told, and Checks are still answered."""
    server = await begin(make(drain_delay=0.4))
    channel = connect(str(server.check_address))
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(pb.HealthCheckRequest(service=CHECK_SERVICE))
    seen = [(await watch.read()).status]
    stopping = asyncio.create_task(server.stop())
    seen.append((await watch.read()).status)
    assert seen == [SERVING, 2]
    status, text = await readyz(server)
    assert (status, "draining" in text) == (503, True)
    assert await ask(channel) == b"ok"
    assert not stopping.done()
    await stopping
    assert await watch.read() is grpc.aio.EOF, "a watch does not hold up the stop"


async def test_the_http_listener_goes_on_through_the_drain(make: Make, begin: Begin, eventually: Eventually) -> None:
    """It answers during the delay, ends each connection with its answer, finishes what is under way, and closes."""
    release, asked = asyncio.Event(), list[str]()

    async def answer(question: HttpQuestion) -> HttpAnswer:
        asked.append(question.path)
        await (release.wait() if question.path == "/long" else asyncio.sleep(0))
        return HttpAnswer(200)

    http = HttpParts(Listener(parse_address("127.0.0.1:0")), answer)
    server = await begin(make(http=http, drain_delay=0.3, grace=5.0))
    base = f"http://{server.http_address}"
    assert f"http {server.http_address}" in (await readyz(server))[1]
    async with httpx2.AsyncClient() as client:
        assert "connection" not in (await client.get(f"{base}/")).headers
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.1)
        assert (await client.get(f"{base}/")).headers["connection"] == "close"
        long = asyncio.create_task(client.get(f"{base}/long"))
        await eventually(lambda: "/long" in asked)
        await asyncio.sleep(0.4)
        with pytest.raises(httpx2.TransportError):
            await client.get(f"{base}/")
        assert not stopping.done()
        release.set()
        assert (await long).status_code == 200
    await stopping


async def test_the_http_listener_is_held_to_the_rules_of_all(make: Make) -> None:
    """Plaintext where others can reach it is refused; without it there is none."""

    async def answer(_: HttpQuestion) -> HttpAnswer:
        return HttpAnswer(200)

    with pytest.raises(ServingError, match=r"listen\.http\.plaintext: true"):
        await Server(make(http=HttpParts(Listener(parse_address("0.0.0.0:0")), answer))).start()


async def test_running_checks_have_the_grace_to_finish(
    make: Make, begin: Begin, connect: Connect, ask: Ask, eventually: Eventually
) -> None:
    """A Check that runs when the server stops is answered within the grace; one that takes longer is cut off."""
    release = asyncio.Event()
    running: list[bytes] = []

    async def handler(message: bytes, call: Call) -> bytes:
        running.append(message)
        await (release.wait() if message == b"short" else asyncio.Event().wait())
        return b"ok"

    server = await begin(make(handler, grace=0.3))
    channel = connect(str(server.check_address))
    short, long = (asyncio.create_task(ask(channel, message)) for message in (b"short", b"long"))
    await eventually(lambda: len(running) == 2)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    release.set()
    assert await short == b"ok"
    with pytest.raises(grpc.aio.AioRpcError):
        await long
    await stopping


async def test_stopping_under_load_loses_no_request(make: Make, begin: Begin, connect: Connect) -> None:
    """With two servers and a client that checks health as Envoy does, stopping one under load fails no request."""

    async def work(message: bytes, call: Call) -> bytes:
        await asyncio.sleep(0.01)
        return b"ok"

    servers = [await begin(make(work, drain_delay=0.3)) for _ in range(2)]
    channels = [connect(str(server.check_address)) for server in servers]
    healthy = [True, True]
    outcomes: list[Any] = []
    per_server = [0, 0]
    done = asyncio.Event()

    async def check_health() -> None:
        while not done.is_set():
            for number, channel in enumerate(channels):
                healthy[number] = await health(channel) == SERVING
            await asyncio.sleep(0.05)

    async def load(turn: int) -> None:
        while not done.is_set():
            turn += 1
            number = turn % 2 if all(healthy) else healthy.index(True)
            per_server[number] += 1
            try:
                outcomes.append(await channels[number].unary_unary(CHECK_METHOD)(b"?", timeout=5))
            except grpc.aio.AioRpcError as error:
                outcomes.append(error)

    async with asyncio.TaskGroup() as group:
        group.create_task(check_health())
        for turn in range(8):
            group.create_task(load(turn))
        await asyncio.sleep(0.2)
        await servers[0].stop()
        await asyncio.sleep(0.1)
        done.set()
    assert set(outcomes) == {b"ok"}
    assert min(per_server) > 20


async def test_certificates_are_followed(
    make: Make,
    begin: Begin,
    connect: Connect,
    tls_files: Callable[..., TlsFiles],
    tmp_path: Path,
    authority: Any,
    eventually: Eventually,
) -> None:
    """A certificate that changes on disk is taken into use within a second; a broken one is told and not used."""
    files = tls_files()
    parts = make(check=Listener(parse_address("127.0.0.1:0"), tls=files))
    server = await begin(parts)
    certificates = server._certificates["listen.check"]
    before = certificates.material
    await asyncio.sleep(0.2)
    tls_files()
    await eventually(lambda: certificates.material is not before, 2)
    (tmp_path / "tls.key").write_text("no key")
    await eventually(lambda: any("those in force stay" in line for line in parts.readiness.report()), 2)
    assert parts.readiness.ready
    channel = connect(str(server.check_address), grpc.ssl_channel_credentials(authority.pem))
    assert await health(channel) == SERVING


async def test_background_tasks_run_and_end_with_the_server(make: Make, begin: Begin) -> None:
    """The tasks that app hands over run while the server does, and are cancelled by its stop."""
    seen: list[str] = []

    async def task() -> None:
        seen.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    server = await begin(make(tasks={"keys": task}))
    await asyncio.sleep(0.05)
    assert seen == ["began"]
    await server.stop()
    assert seen == ["began", "ended"]


async def test_a_signal_stops_in_order(make: Make, connect: Connect, ask: Ask, eventually: Eventually) -> None:
    """SIGTERM ends `serve` after an orderly stop, and the handlers are taken off again."""
    server = Server(make())
    running = asyncio.create_task(serve(server))
    await eventually(lambda: server._parts.readiness.ready)
    assert await ask(connect(str(server.check_address))) == b"ok"
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_second_signal_stops_at_once(make: Make, connect: Connect, ask: Ask, eventually: Eventually) -> None:
    """The first SIGINT drains; the second cuts delay and grace short, and `serve` still returns."""
    running: list[bytes] = []

    async def hang(message: bytes, call: Call) -> bytes:
        running.append(message)
        await asyncio.Event().wait()
        return b"never"

    server = Server(make(hang, drain_delay=30.0, grace=30.0))
    serving = asyncio.create_task(serve(server))
    await eventually(lambda: server._parts.readiness.ready)
    call = asyncio.create_task(ask(connect(str(server.check_address)), timeout=20))
    await eventually(lambda: running)
    os.kill(os.getpid(), signal.SIGINT)
    await eventually(lambda: any("draining" in line for line in server._parts.readiness.report()))
    await asyncio.sleep(0.1)
    assert not serving.done()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(serving, 5)
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_a_signal_makes_the_log_say_more(make: Make, eventually: Eventually) -> None:
    """SIGUSR2, as often as it comes; it stops nothing."""
    toggled: list[int] = []
    server = Server(make(toggle_debug=lambda: toggled.append(1)))
    serving = asyncio.create_task(serve(server))
    await eventually(lambda: server._parts.readiness.ready)
    for count in (1, 2):
        os.kill(os.getpid(), signal.SIGUSR2)
        await eventually(lambda count=count: len(toggled) == count)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_hangup_stops_only_what_a_terminal_owns(
    make: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """A closed terminal takes its server with it; elsewhere SIGHUP means "reload", and loses no request."""
    monkeypatch.setattr(os, "isatty", lambda _: terminal)
    server = Server(make())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
    with capture_logs() as logs:
        serving = asyncio.create_task(serve(server))
        await eventually(lambda: server._parts.readiness.ready)
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: "SIGHUP" in str(logs) or serving.done())
        assert serving.done() is terminal
        if not terminal:
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 5)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_a_hangup_that_is_ignored_stays_so(make: Make, eventually: Eventually) -> None:
    """Under nohup the server outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        serving = asyncio.create_task(serve(server := Server(make())))
        await eventually(lambda: server._parts.readiness.ready)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 5)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_hurry_during_the_grace_cuts_it_short(
    make: Make, begin: Begin, connect: Connect, ask: Ask, eventually: Eventually
) -> None:
    """When calls are already in their grace, a second signal ends them."""
    running: list[bytes] = []

    async def hang(message: bytes, call: Call) -> bytes:
        running.append(message)
        await asyncio.Event().wait()
        return b"never"

    server = await begin(make(hang, grace=30.0))
    call = asyncio.create_task(ask(connect(str(server.check_address)), timeout=20))
    await eventually(lambda: running)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    server.hurry()
    await asyncio.wait_for(stopping, 5)
    with pytest.raises(grpc.aio.AioRpcError):
        await call


@pytest.mark.parametrize("which", ["check", "admin"])
async def test_a_listener_that_ends_by_itself_ends_the_process(make: Make, eventually: Eventually, which: str) -> None:
    """When a listener is gone although nobody asked, `serve` stops the rest and raises."""
    server = Server(make(drain_delay=30.0))
    serving = asyncio.create_task(serve(server))
    await eventually(lambda: server._parts.readiness.ready)
    assert server._check is not None
    assert server._admin is not None
    if which == "check":
        await server._check.stop(0)
    else:
        await server._admin.stop()
    with pytest.raises(ServingError, match=rf"listen\.{which}: the listener ended by itself"):
        await asyncio.wait_for(serving, 5)


async def test_nothing_is_said_about_requests(make: Make, begin: Begin, connect: Connect, ask: Ask) -> None:
    """A whole life with a Check leaves no metadata or message in the log."""
    with capture_logs() as logs:
        server = await begin(make(options=GrpcOptions()))
        await ask(connect(str(server.check_address)), b"secret-1", metadata=(("authorization", "secret-2"),))
        await server.stop()
    assert [entry["event"].partition(";")[0] for entry in logs] == [
        "there is no policy, every request is denied",
        "listening",
        "draining",
        "stopped",
    ]
    assert "secret" not in str(logs)
