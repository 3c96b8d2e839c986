"""What a Redis may do to the records that it was given: lose them, refuse them, be slow; and how that shows."""

import asyncio
import contextlib
import itertools
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from extauthz.errors import StoreError
from extauthz.stores import RedisTokenStore, StoreSettings
from extauthz.tokens.records import Outcome, Revocation
from tests.stores.redis_server import RedisServer, Road, cluster, running
from tests.stores.test_redis_forms import tls_options
from tests.stores.token_stores import NOW, PATIENCE, a_family, a_revocation, a_succession

pytestmark = pytest.mark.system("redis-server")


@contextlib.asynccontextmanager
async def opened(url: str, patience: float = PATIENCE) -> AsyncIterator[RedisTokenStore]:
    store = RedisTokenStore(StoreSettings(url, timeout=patience))
    try:
        yield store
    finally:
        await store.close()


async def again(server: RedisServer, store: RedisTokenStore) -> None:
    """The server is killed and started with what it has on its disk."""
    server.stop()
    server.start()
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(StoreError):
                await store.look()
                return
            await asyncio.sleep(0.01)


def values(revocations: Sequence[Revocation]) -> list[str]:
    return [one.value for one in revocations]


async def fill(store: RedisTokenStore, kept: list[str]) -> None:
    """Revoke until that is refused."""
    for part in itertools.count():
        names = [f"{part}-{n}" + "x" * 200 for n in range(50)]
        await store.revoke([a_revocation(name) for name in names])
        kept += names


def runs_of(server: RedisServer) -> str:
    return server.command("HGET", "extauthz:{tokens}:about", "runs")


class TestLost:
    async def test_a_store_that_was_emptied_shows_it(self, redis_server: RedisServer) -> None:
        """Whoever reads is told that all it knows is no longer kept."""
        async with opened(redis_server.url) as store:
            await store.revoke([a_revocation("x")])
            page = await store.revocations()
            redis_server.command("FLUSHALL")
            after = await store.revocations(page.cursor, page.epoch)
            assert after.epoch != page.epoch
            assert values(after.revocations) == []
            assert await store.revocations(after.cursor, after.epoch) == after

    @pytest.mark.parametrize("key", ["log", "revoked", "forget", "names", "about"])
    async def test_each_record_that_is_taken_away_shows(self, redis_server: RedisServer, key: str) -> None:
        """By eviction, or by hand; once, and not for ever."""
        async with opened(redis_server.url) as store:
            await store.revoke([a_revocation("x")])
            await store.use_once("jti", NOW + 60, now=NOW)
            page = await store.revocations()
            assert redis_server.command("DEL", f"extauthz:{{tokens}}:{key}") == "1"
            after = await store.revocations(page.cursor, page.epoch)
            assert after.epoch != page.epoch
            last = await store.revocations(after.cursor, after.epoch)
            assert (last.epoch, values(last.revocations)) == (after.epoch, [])
            assert last.cursor == after.cursor
            await store.revoke([a_revocation("y")])
            assert values((await store.revocations(last.cursor, last.epoch)).revocations) == ["y"]

    async def test_a_loss_shows_whoever_finds_it(self, redis_server: RedisServer) -> None:
        """A call that only writes must not hide it from those who read."""
        async with opened(redis_server.url) as store:
            await store.revoke([a_revocation("x"), a_revocation("y")])
            page = await store.revocations()
            redis_server.command("DEL", "extauthz:{tokens}:log")
            await store.revoke([a_revocation("z")])
            assert (await store.revocations(page.cursor, page.epoch)).epoch != page.epoch

    async def test_a_server_that_comes_back_with_everything_is_the_same_store(self, tmp_path: Path) -> None:
        with running(tmp_path, "appendonly yes", "appendfsync always") as server:
            async with opened(server.url) as store:
                await store.revoke([a_revocation("x")])
                page = await store.revocations()
                await again(server, store)
                after = await store.revocations(page.cursor, page.epoch)
        assert after.epoch == page.epoch
        assert values(after.revocations) == ["x"]

    @pytest.mark.parametrize("written", [0, 1, 3])
    @pytest.mark.parametrize("starts", [1, 2])
    async def test_a_server_that_comes_back_with_less_shows_it(self, tmp_path: Path, written: int, starts: int) -> None:
        """So does a copy that lagged behind and took over, even if new places have overtaken what was told before."""
        with running(tmp_path) as server:
            async with opened(server.url) as store, opened(server.url) as writer:
                await store.revoke([a_revocation("old")])
                server.command("SAVE")
                await store.revoke([a_revocation("lost"), a_revocation("lost too")])
                page = await store.revocations()
                await again(server, store)
                news = [f"new {n}" for n in range(written)]
                for name in news:
                    await writer.revoke([a_revocation(name)])
                for _ in range(starts - 1):
                    server.command("SAVE")
                    await again(server, store)
                after = await store.revocations(page.cursor, page.epoch)
                last = await store.revocations(after.cursor, after.epoch)
        assert values(after.revocations) == ["old", *news]
        assert after.epoch != page.epoch
        assert last == replace(after, revocations=[])

    async def test_a_server_that_often_starts_remembers_its_last_runs(self, tmp_path: Path) -> None:
        with running(tmp_path, "appendonly yes", "appendfsync always") as server:
            async with opened(server.url) as store:
                await store.revoke([a_revocation("x")])
                page = await store.revocations()
                for _ in range(22):
                    server.command("HSET", "extauthz:{tokens}:about", "runs", f"{runs_of(server)} other:1")
                    after = await store.revocations(page.cursor, page.epoch)
                runs = runs_of(server).split()
        assert after.epoch == page.epoch
        assert len(runs) == 20


class TestFaults:
    async def test_a_store_that_is_full_refuses_and_forgets_nothing(self, tmp_path: Path) -> None:
        with running(tmp_path, "maxmemory 3mb", "maxmemory-policy noeviction") as server:
            async with opened(server.url) as store:
                kept: list[str] = []
                with pytest.raises(StoreError, match="OutOfMemory"):
                    await fill(store, kept)
                before = await store.revocations()
                assert values(before.revocations) == kept
                with pytest.raises(StoreError, match="OutOfMemory"):
                    await store.revoke([a_revocation()])
                assert await store.revocations(before.cursor, before.epoch) == replace(before, revocations=[])

    async def test_a_copy_that_may_not_be_written_is_told(self, tmp_path: Path, redis_server: RedisServer) -> None:
        (tmp_path / "copy").mkdir()
        with running(tmp_path / "copy", f"replicaof 127.0.0.1 {redis_server.port}") as copy:
            async with opened(copy.url) as store:
                with pytest.raises(StoreError, match="ReadOnly"):
                    await store.revoke([a_revocation()])

    async def test_a_server_that_hangs_is_waited_for_no_longer_than_the_timeout(
        self, redis_server: RedisServer
    ) -> None:
        """And works again by itself when it goes on."""
        async with opened(redis_server.url, patience=0.3) as store:
            await store.look()
            redis_server.send(signal.SIGSTOP)
            before = time.monotonic()
            said = await asyncio.gather(
                *(store.use_once(f"{n}", NOW + 9, now=NOW) for n in range(20)), return_exceptions=True
            )
            waited = time.monotonic() - before
            redis_server.send(signal.SIGCONT)
            assert all(isinstance(one, StoreError) for one in said)
            assert "no answer within 0.3 s" in str(said[-1]) or "Timeout" in str(said[-1])
            assert waited < 3
        async with opened(redis_server.url) as store:
            assert await store.use_once("other", NOW + 9, now=NOW)

    async def test_an_answer_that_is_too_late_is_nobody_elses(self, redis_server: RedisServer) -> None:
        """The connection is not used again with the answer still on its way."""
        async with Road(redis_server.port).open() as road, opened(f"redis://127.0.0.1:{road.port}", 0.5) as store:
            family = a_family()
            await store.begin(family)
            road.delay = 0.7
            with pytest.raises(StoreError):
                await store.revocations()
            road.delay = 0.0
            await asyncio.sleep(0.8)
            assert await store.family(family.id) == family

    async def test_a_wrong_password_is_told_and_not_repeated(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text("wrong-password\n")
        with running(tmp_path, "requirepass right-password") as server:
            store = RedisTokenStore(StoreSettings(server.url, password_file=str(file), timeout=PATIENCE))
            with pytest.raises(StoreError) as caught:
                await store.look()
            await store.close()
        assert "wrong-password" not in str(caught.value)

    async def test_scripts_that_the_server_forgot_are_sent_again(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url) as store:
            family = a_family()
            await store.begin(family)
            redis_server.command("SCRIPT", "FLUSH")
            assert await store.family(family.id) == family

    async def test_a_newer_schema_is_refused_and_left_alone(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url) as store:
            family = a_family()
            await store.begin(family)
            redis_server.command("HSET", "extauthz:{tokens}:about", "schema", "2")
            for asked in (store.family(family.id), store.end_family(family.id), store.revocations(), store.purge(NOW)):
                with pytest.raises(StoreError, match="start the newer extauthz again"):
                    await asked
            redis_server.command("HSET", "extauthz:{tokens}:about", "schema", "1")
            assert await store.family(family.id) == family

    async def test_one_family_that_is_damaged_harms_no_other(self, redis_server: RedisServer) -> None:
        """It proves nobody, and keeps nobody from ending those of its client."""
        async with opened(redis_server.url) as store:
            damaged, sound = a_family(idle_until=NOW + 5), a_family()
            await store.begin(damaged)
            await store.begin(sound)
            redis_server.command("SET", f"extauthz:{{tokens}}:family:{damaged.id}", "garbage")
            for asked in (
                store.family(damaged.id),
                store.end_family(damaged.id),
                store.rotate(damaged.id, a_succession(1, 2)),
            ):
                with pytest.raises(StoreError, match="the record of a family can't be read"):
                    await asked
            assert await store.end_families(client_id="shop") == 1
            assert await store.family(sound.id) == replace(sound, revoked=True)
            assert await store.purge(NOW + 5) == 1
            assert await store.family(damaged.id) is None

    async def test_no_secret_is_in_an_error(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url) as store:
            redis_server.command("SET", "extauthz:{tokens}:ends", "not a sorted set")
            with pytest.raises(StoreError) as caught:
                await store.begin(a_family(key=b"canary-key", grant="canary-grant", current=b"canary-digest"))
        assert "WRONGTYPE" in str(caught.value)
        assert "canary" not in str(caught.value)

    async def test_a_text_that_is_not_unicode_is_refused(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url) as store:
            for asked in (
                store.begin(a_family(subject="\ud800")),
                store.revoke([a_revocation(), a_revocation("\ud800")]),
            ):
                with pytest.raises(StoreError, match="a text that is not Unicode can't be kept"):
                    await asked
            assert values((await store.revocations()).revocations) == []


class TestForms:
    async def test_tls_and_a_socket_and_a_sentinel(self, tmp_path: Path) -> None:
        """One store, reached in each way."""
        options, port = tls_options(tmp_path)
        family = a_family()
        with running(tmp_path, *options, "tls-auth-clients no") as server:
            monitored = f"sentinel monitor main 127.0.0.1 {server.port} 1"
            with running(tmp_path, monitored, sentinel=True) as sentinel:
                urls = [
                    f"rediss://127.0.0.1:{port}",
                    f"redis+unix://{server.socket}",
                    f"redis+sentinel://127.0.0.1:{sentinel.port}/main",
                ]
                for number, url in enumerate(urls):
                    settings = StoreSettings(url, timeout=PATIENCE, ca_file=str(tmp_path / "ca.pem"))
                    store = RedisTokenStore(settings)
                    if number == 0:
                        await store.begin(family)
                    assert await store.family(family.id) == family
                    await store.close()


class TestDurability:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("appendonly yes", "appendfsync always"), ""),
            ((), "appendonly is off: a crash forgets what was acknowledged"),
            (("appendonly yes", "appendfsync everysec"), "appendfsync is not always: a loss of power forgets"),
            (
                ("appendonly yes", "appendfsync always", "maxmemory 100mb", "maxmemory-policy allkeys-lru"),
                "maxmemory-policy is allkeys-lru: evicted records are revoked tokens that are good again",
            ),
            (("user default on nopass ~* +@all -config -info",), "it could not be asked how durable it is"),
        ],
    )
    async def test_what_a_server_may_forget_is_told(self, tmp_path: Path, options: tuple[str, ...], told: str) -> None:
        with running(tmp_path, *options) as server:
            async with opened(server.url) as store:
                said = await store.look()
        assert said.startswith(told) if told else said == ""

    async def test_one_node_of_a_cluster_is_told(self, tmp_path: Path) -> None:
        with cluster(tmp_path) as nodes:
            said = set()
            for node in nodes:
                async with opened(node.url) as store:
                    try:
                        said.add(await store.look())
                    except StoreError as error:
                        said.add(str(error).partition(":")[2].partition("Error")[0].strip())
        assert (
            "this is a node of a cluster, and other nodes hold most keys: write redis+cluster:// in store.url" in said
        )
        assert len(said) == 2

    async def test_an_account_with_these_rights_is_enough(self, tmp_path: Path) -> None:
        """Those that the docs name."""
        rights = "~extauthz:* -@all +@read +@write +@scripting +@connection +info +config|get"
        with running(tmp_path, "appendonly yes", "appendfsync always", f"user default on nopass {rights}") as server:
            async with opened(server.url) as store:
                assert await store.look() == ""
                family = a_family()
                await store.begin(family)
                await store.revoke([a_revocation("x")])
                assert await store.end_families(client_id="shop", subject="alice") == 1
                assert await store.purge(NOW + 400) == 1
                assert values((await store.revocations()).revocations) == []


async def test_a_cluster_keeps_all_records_together(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        async with opened(url) as store, opened(url) as other:
            family = a_family()
            await store.begin(family)
            said = await asyncio.gather(
                *((store, other)[n % 2].rotate(family.id, a_succession(1, 2 + n)) for n in range(64))
            )
            await store.revoke([a_revocation(f"{n}") for n in range(1500)])
            page = await other.revocations()
            assert await store.end_families(subject="alice") == 1
            assert await store.purge(NOW + 400) == 1500
            assert await other.look() != ""
        sizes = [node.command("DBSIZE") for node in nodes]
    assert sorted(rotation.outcome.value for rotation in said) == [Outcome.REPEATED.value] * 63 + [
        Outcome.ROTATED.value
    ]
    assert len(page.revocations) == 1500
    assert sorted(sizes)[:2] == ["0", "0"]


async def test_a_look_that_is_cancelled_ends(redis_server: RedisServer) -> None:
    """At whatever moment: a server that stops waits for it. The library goes on with one cancelled task in ten."""
    ended = 0
    for _ in range(100):
        async with opened(redis_server.url) as store:
            look = asyncio.create_task(store.look())
            await asyncio.sleep(random.uniform(0, 0.002))
            if look.cancel():
                ended += 1
                await asyncio.wait({look})
                assert look.cancelled()
    assert ended > 20
