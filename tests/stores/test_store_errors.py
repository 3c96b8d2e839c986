"""Errors of the store as a whole are told from those of one key, and none of them is anything but a CountersError."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from extauthz.limits import CountersError, SharedLimiter, Wanted
from extauthz.model import Rate
from extauthz.stores import RedisCounters, StoreSettings
from tests.conftest import system_program
from tests.owned_server import free_port
from tests.stores.redis_server import RedisServer, running

pytestmark = pytest.mark.system("redis-server")

WANTED = Wanted(b"k" * 16, Rate(5))


@contextlib.asynccontextmanager
async def counting(settings: StoreSettings) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(settings)
    try:
        yield counters
    finally:
        await counters.close()


def nobody_there() -> str:
    return f"127.0.0.1:{free_port()}"


@contextlib.contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """The server runs somebody's endless script, and says so to everybody else."""
    server.command("CONFIG", "SET", "busy-reply-threshold", "1")
    program = system_program("redis-cli")
    assert program is not None
    command = [str(program), "-p", str(server.port), "EVAL", "while true do end", "0"]
    script = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not server.command("PING").startswith("BUSY"):
            assert time.monotonic() < end
            time.sleep(0.01)
        yield
    finally:
        server.command("SCRIPT", "KILL")
        script.wait(10)


async def test_a_store_without_its_copies_is_down_as_a_whole(redis_server: RedisServer) -> None:
    redis_server.command("CONFIG", "SET", "min-replicas-to-write", "1")
    async with counting(redis_server.settings()) as counters:
        with pytest.raises(CountersError, match="NOREPLICAS") as caught:
            await counters.ask(WANTED)
    assert not caught.value.only_this


async def test_a_store_that_runs_a_long_script_is_down_as_a_whole(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        with busy(redis_server), pytest.raises(CountersError, match="BUSY") as caught:
            await counters.ask(WANTED)
        said = await counters.ask(WANTED)
    assert not caught.value.only_this
    assert said.granted == 1


async def test_a_store_that_wants_a_password_is_down_as_a_whole(tmp_path: Path) -> None:
    with running(tmp_path, "requirepass secret") as server:
        async with counting(server.settings()) as counters:
            with pytest.raises(CountersError) as caught:
                await counters.ask(WANTED)
    assert not caught.value.only_this


async def test_an_account_that_may_not_run_scripts_is_down_as_a_whole(tmp_path: Path) -> None:
    with running(tmp_path, "user default on nopass ~* +@all -evalsha -eval") as server:
        async with counting(server.settings()) as counters:
            with pytest.raises(CountersError) as caught:
                await counters.ask(WANTED)
    assert not caught.value.only_this


async def test_a_cluster_without_its_slots_is_down_as_a_whole(tmp_path: Path) -> None:
    with running(tmp_path, "cluster-enabled yes", f"cluster-port {free_port()}") as server:
        async with counting(server.settings()) as counters:
            with pytest.raises(CountersError, match=r"CLUSTERDOWN|ClusterDown") as caught:
                await counters.ask(WANTED)
    assert not caught.value.only_this


async def test_scripts_that_the_store_forgot_are_sent_again(redis_server: RedisServer) -> None:
    async with counting(redis_server.settings()) as counters:
        await counters.ask(WANTED)
        redis_server.command("SCRIPT", "FLUSH")
        said = await asyncio.gather(*(counters.ask(WANTED) for _ in range(6)))
    assert [one.granted for one in said] == [1, 1, 1, 1, 0, 0]


UNREACHABLE: dict[str, Callable[[], str]] = {
    "one": lambda: f"redis://{nobody_there()}",
    "tls": lambda: f"rediss://{nobody_there()}",
    "cluster": lambda: f"redis+cluster://{nobody_there()}",
    "sentinel": lambda: f"redis+sentinel://{nobody_there()}/main",
    "socket": lambda: "redis+unix:///nowhere/redis.sock",
    "name": lambda: "redis://no-such-host.invalid:6379",
}


@pytest.mark.parametrize("form", UNREACHABLE)
async def test_whatever_cannot_be_reached_is_down_and_no_other_error(form: str) -> None:
    """The library's error for a cluster is none of its RedisErrors, and that of a name is the system's."""
    async with counting(StoreSettings(UNREACHABLE[form](), timeout=2.0)) as counters:
        with pytest.raises(CountersError) as asked:
            await counters.ask(WANTED)
        with pytest.raises(CountersError):
            await counters.heartbeat()
    assert not asked.value.only_this


async def test_a_server_that_speaks_something_else_is_down() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with counting(StoreSettings(f"redis://127.0.0.1:{port}", timeout=2.0)) as counters:
            with pytest.raises(CountersError):
                await counters.heartbeat()
            with pytest.raises(CountersError) as caught:
                await counters.ask(WANTED)
    assert not caught.value.only_this


@pytest.mark.parametrize("form", ["one", "cluster"])
async def test_the_heartbeat_survives_a_store_that_is_not_there_yet(tmp_path: Path, form: str) -> None:
    """A server may be started before its store."""
    talk = free_port()
    options = () if form == "one" else ("cluster-enabled yes", f"cluster-port {talk}")
    server = RedisServer(tmp_path, options)
    scheme = "redis" if form == "one" else "redis+cluster"
    counters = RedisCounters(StoreSettings(f"{scheme}://127.0.0.1:{server.port}", timeout=0.5))
    limiter = SharedLimiter(counters, clock=time.monotonic, timeout=0.5)
    background = asyncio.create_task(limiter.run())
    try:
        async with asyncio.timeout(15):
            while limiter.counts().available:  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.01)
            server.start()
            if form == "cluster":
                server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            while not limiter.counts().available:
                assert not background.done()
                await asyncio.sleep(0.01)
        assert limiter.counts().replicas == 1
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await counters.close()
        server.stop()
