"""What a store of tokens promises, asked of each that there is: clients, families, revocations, names that are used once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, replace
from pathlib import Path

import pytest

from extauthz.errors import StoreError
from extauthz.tokens.clients import Client, ExchangeRules
from extauthz.tokens.records import Outcome, Revocation, RevocationKind, RevocationPage, Rotation
from tests.stores.redis_server import RedisServer, running
from tests.stores.token_stores import (
    DAY,
    NOW,
    OpenStore,
    Stores,
    a_family,
    a_revocation,
    a_succession,
    digest,
    memory,
    redis,
    sqlite,
)

GRACE = 10.0
IDLE = NOW + 2 * DAY

PLAIN = Client("shop", "client_secret_basic", frozenset({"client_credentials"}), ("https://orders",))
FULL = Client(
    id="a client/with: any\x00id ä😀",
    authentication="private_key_jwt",
    grants=frozenset({"client_credentials", "refresh_token"}),
    audiences=("https://b", "https://a"),
    roles=("user", "admin"),
    scopes=("write", "read"),
    lifetime=0.1 + 0.2,
    refresh=True,
    renew=True,
    exchange=ExchangeRules(frozenset({"corporate", "google"}), frozenset({"user"})),
    secret_digests=(bytes(range(32)), b"\xff" * 32),
    public_keys={"keys": [{"kty": "EC", "crv": "P-256", "x": "é", "n": 1, "deep": [None, True, 1.5]}]},
    certificate_subject="spiffe://cluster.local/ns/shop/sa/orders",
    may_introspect=True,
    disabled=True,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    kinds: dict[str, Callable[[], AbstractAsyncContextManager[Stores]]] = {
        "memory": memory,
        "sqlite": lambda: sqlite(tmp_path),
        "redis": lambda: redis(request.getfixturevalue("server")),
    }
    async with kinds[request.param]() as kept:
        yield kept
        for store in kept.opened:
            await store.close()


@pytest.fixture
async def store(stores: Stores) -> OpenStore:
    return stores.open()


async def rotated(store: OpenStore, family_id: str, presented: int, successor: int, **changed: float) -> Rotation:
    times = {"grace": GRACE, "idle_until": IDLE} | changed
    succession = a_succession(presented, successor, b"sealed %d" % successor, **times)
    return await store.rotate(family_id, succession)


class TestClients:
    @pytest.mark.parametrize("client", [PLAIN, FULL, replace(FULL, exchange=ExchangeRules(frozenset()), lifetime=5)])
    async def test_a_client_is_read_as_it_was_written(self, stores: Stores, client: Client) -> None:
        assert await stores.open().put_client(client, replace=False)
        assert await stores.open().client(client.id) == client

    def test_the_full_client_has_nothing_left_at_its_default(self) -> None:
        """So that a new field is not forgotten by whoever writes clients down."""
        bare = Client(FULL.id, "tls_client_auth", frozenset(), ())
        same = [one.name for one in fields(Client) if getattr(FULL, one.name) == getattr(bare, one.name)]
        assert same == ["id"]

    async def test_an_unknown_client_is_none(self, store: OpenStore) -> None:
        assert await store.client("nobody") is None
        assert list(await store.clients()) == []

    async def test_clients_are_sorted_by_id(self, store: OpenStore) -> None:
        ids = ["b", "a", "ä", "Z", "😀", "\ue000"]
        for client_id in ids:
            await store.put_client(replace(PLAIN, id=client_id), replace=False)
        assert [client.id for client in await store.clients()] == sorted(ids)

    async def test_who_is_new_takes_nobodys_place(self, store: OpenStore) -> None:
        await store.put_client(PLAIN, replace=False)
        assert not await store.put_client(replace(PLAIN, renew=True), replace=False)
        assert await store.client(PLAIN.id) == PLAIN

    async def test_who_is_to_be_replaced_must_be_there(self, store: OpenStore) -> None:
        assert not await store.put_client(PLAIN, replace=True)
        assert await store.client(PLAIN.id) is None
        await store.put_client(PLAIN, replace=False)
        assert await store.put_client(replace(PLAIN, disabled=True), replace=True)
        assert await store.client(PLAIN.id) == replace(PLAIN, disabled=True)

    async def test_a_removed_client_is_forgotten(self, store: OpenStore) -> None:
        await store.put_client(PLAIN, replace=False)
        assert await store.remove_client(PLAIN.id)
        assert not await store.remove_client(PLAIN.id)
        assert await store.client(PLAIN.id) is None

    async def test_of_64_who_register_one_id_one_does(self, stores: Stores) -> None:
        replicas = [stores.open() for _ in range(4)]
        asked = (replicas[n % 4].put_client(replace(PLAIN, roles=(str(n),)), replace=False) for n in range(64))
        done = await asyncio.gather(*asked)
        assert sum(done) == 1
        kept = await replicas[0].client(PLAIN.id)
        assert kept is not None
        assert kept.roles == (str(done.index(True)),)


class TestFamilies:
    async def test_a_family_is_read_as_it_was_written(self, stores: Stores) -> None:
        whole = a_family(
            key=bytes(range(256)),
            client_id="c\x00ä😀",
            subject="\x00:{s} %",
            grant='{"x":"é"}',
            created=0.1 + 0.2,
            expires=NOW + 1 / 3,
            idle_until=NOW + 1 / 7,
            previous=digest(7),
            sealed=b"\x00\xff" * 100,
            rotated=NOW - 1 / 9,
            generation=12345,
        )
        await stores.open().begin(whole)
        assert await stores.open().family(whole.id) == whole

    async def test_an_unknown_family_is_none(self, store: OpenStore) -> None:
        assert await store.family("f" * 32) is None
        assert await store.end_family("f" * 32) is None
        assert await rotated(store, "f" * 32, 1, 2) == Rotation(Outcome.UNKNOWN)

    async def test_a_family_does_not_begin_twice(self, store: OpenStore) -> None:
        """Or a revoked one could come back."""
        one = a_family()
        await store.begin(one)
        await store.end_family(one.id)
        with pytest.raises(StoreError, match="there is a family of that id already"):
            await store.begin(one)
        assert await store.family(one.id) == replace(one, revoked=True)

    async def test_the_current_token_is_followed_by_the_next(self, store: OpenStore) -> None:
        one = a_family()
        await store.begin(one)
        done = await rotated(store, one.id, 1, 2, now=NOW + 1 / 3)
        after = replace(
            one,
            current=digest(2),
            previous=digest(1),
            sealed=b"sealed 2",
            rotated=NOW + 1 / 3,
            idle_until=IDLE,
            generation=1,
        )
        assert done == Rotation(Outcome.ROTATED, after)
        assert await store.family(one.id) == after

    async def test_the_one_before_is_answered_with_what_was_sealed(self, store: OpenStore) -> None:
        one = a_family()
        await store.begin(one)
        first = await rotated(store, one.id, 1, 2)
        again = await rotated(store, one.id, 1, 3, now=NOW + 5)
        assert again == Rotation(Outcome.REPEATED, first.family)
        assert await store.family(one.id) == first.family

    @pytest.mark.parametrize(
        ("later", "outcome"),
        [
            (0.0, Outcome.REPEATED),
            (GRACE, Outcome.REPEATED),
            (GRACE + 0.001, Outcome.REUSED),
            (-GRACE, Outcome.REPEATED),
            (-GRACE - 0.001, Outcome.REUSED),
        ],
    )
    async def test_the_grace_ends_to_the_moment(self, store: OpenStore, later: float, outcome: Outcome) -> None:
        """And a clock that was set back does not make it longer."""
        one = a_family()
        await store.begin(one)
        await rotated(store, one.id, 1, 2)
        assert (await rotated(store, one.id, 1, 3, now=NOW + later)).outcome is outcome

    async def test_a_grace_of_nothing_is_none(self, store: OpenStore) -> None:
        one = a_family()
        await store.begin(one)
        await rotated(store, one.id, 1, 2, grace=0)
        assert (await rotated(store, one.id, 1, 3, grace=0)).outcome is Outcome.REUSED

    async def test_what_was_replaced_before_ends_the_family_in_the_same_step(self, store: OpenStore) -> None:
        """An ancestor two steps back is theft, even within the grace."""
        one = a_family()
        await store.begin(one)
        await rotated(store, one.id, 1, 2)
        last = (await rotated(store, one.id, 2, 3)).family
        assert last is not None
        assert await rotated(store, one.id, 1, 4) == Rotation(Outcome.REUSED, replace(last, revoked=True))
        assert await store.family(one.id) == replace(last, revoked=True)
        assert (await rotated(store, one.id, 3, 5)).outcome is Outcome.ENDED

    @pytest.mark.parametrize("presented", [b"", b"\x00" * 32, digest(99)])
    async def test_what_was_never_given_out_ends_the_family(self, store: OpenStore, presented: bytes) -> None:
        """A family that never rotated has no one before: empty is not equal to empty."""
        one = a_family()
        await store.begin(one)
        done = await store.rotate(one.id, replace(a_succession(1, 2), presented=presented))
        assert done == Rotation(Outcome.REUSED, replace(one, revoked=True))

    @pytest.mark.parametrize("what", ["expires", "idle_until"])
    async def test_at_its_end_a_family_has_ended(self, store: OpenStore, what: str) -> None:
        one = a_family(**{what: NOW + 5})
        other = replace(a_family(), **{what: NOW + 5})  # type: ignore[arg-type]
        await store.begin(one)
        await store.begin(other)
        assert (await rotated(store, one.id, 1, 2, now=NOW + 4.999)).outcome is Outcome.ROTATED
        assert await rotated(store, other.id, 1, 2, now=NOW + 5) == Rotation(Outcome.ENDED, other)
        assert await rotated(store, other.id, 9, 2, now=NOW + 5) == Rotation(Outcome.ENDED, other)

    async def test_a_revoked_family_has_ended_for_each_of_its_tokens(self, store: OpenStore) -> None:
        one = a_family()
        await store.begin(one)
        last = (await rotated(store, one.id, 1, 2)).family
        assert last is not None
        ended = replace(last, revoked=True)
        assert await store.end_family(one.id) == ended
        assert await store.end_family(one.id) == ended
        for presented in (1, 2, 3):
            assert await rotated(store, one.id, presented, 4) == Rotation(Outcome.ENDED, ended)

    async def test_families_end_by_client_by_subject_and_by_both(self, stores: Stores) -> None:
        store = stores.open()
        owners = [("shop", "alice"), ("shop", "bob"), ("desk", "alice"), ("desk", "bob"), ("shop", "alice")]
        kept = [a_family(client_id=client, subject=subject) for client, subject in owners]
        for family in kept:
            await store.begin(family)

        async def alive() -> list[tuple[str, str]]:
            found = [await stores.open().family(family.id) for family in kept]
            return [(one.client_id, one.subject) for one in found if one is not None and not one.revoked]

        assert await store.end_families(client_id="shop", subject="alice") == 2
        assert await alive() == [("shop", "bob"), ("desk", "alice"), ("desk", "bob")]
        assert await store.end_families(client_id="shop") == 1
        assert await alive() == [("desk", "alice"), ("desk", "bob")]
        assert await store.end_families(subject="alice") == 1
        assert await store.end_families(client_id="nobody", subject="bob") == 0
        assert await alive() == [("desk", "bob")]
        assert await store.end_families(client_id="") == 0

    async def test_nobodys_families_are_not_everybodys(self, store: OpenStore) -> None:
        with pytest.raises(ValueError, match="a client, a subject, or both"):
            await store.end_families()

    async def test_many_families_end_in_one_call(self, store: OpenStore) -> None:
        kept = [a_family() for _ in range(2500)]
        await asyncio.gather(*(store.begin(family) for family in kept))
        assert await store.end_families(client_id="shop") == 2500
        assert await store.end_families(client_id="shop") == 0
        last = await store.family(kept[-1].id)
        assert last is not None
        assert last.revoked

    async def test_of_64_who_present_one_token_one_gets_the_next(self, stores: Stores) -> None:
        """The others get the same answer within the grace."""
        replicas = [stores.open() for _ in range(4)]
        one = a_family()
        await replicas[0].begin(one)
        said = await asyncio.gather(*(rotated(replicas[n % 4], one.id, 1, 2 + n) for n in range(64)))
        assert Counter(rotation.outcome for rotation in said) == {Outcome.ROTATED: 1, Outcome.REPEATED: 63}
        assert len({rotation.family for rotation in said}) == 1

    async def test_without_a_grace_64_who_present_one_token_end_the_family(self, stores: Stores) -> None:
        replicas = [stores.open() for _ in range(4)]
        one = a_family()
        await replicas[0].begin(one)
        said = await asyncio.gather(*(rotated(replicas[n % 4], one.id, 1, 2 + n, grace=0) for n in range(64)))
        assert Counter(rotation.outcome for rotation in said) == {
            Outcome.ROTATED: 1,
            Outcome.REUSED: 1,
            Outcome.ENDED: 62,
        }


class TestRevocations:
    async def test_what_was_revoked_is_told_in_its_order(self, stores: Stores) -> None:
        kinds: list[RevocationKind] = ["token", "subject", "client", "family", "key"]
        made = [Revocation(kind, "ä\x00: x", NOW + n / 3, NOW + 100 + n / 7) for n, kind in enumerate(kinds)]
        await stores.open().revoke(made[:2])
        await stores.open().revoke(made[2:])
        page = await stores.open().revocations()
        assert list(page.revocations) == made

    async def test_a_cursor_goes_on_where_the_page_ended(self, stores: Stores) -> None:
        store, reader = stores.open(), stores.open()
        made = [a_revocation() for _ in range(4)]
        await store.revoke(made[:2])
        first = await reader.revocations()
        empty = await reader.revocations(first.cursor, first.epoch)
        await store.revoke(made[2:])
        second = await reader.revocations(empty.cursor, empty.epoch)
        assert [list(page.revocations) for page in (first, empty, second)] == [made[:2], [], made[2:]]
        assert first.epoch == second.epoch

    @pytest.mark.parametrize("forget", ["epoch", "cursor", "both"])
    async def test_without_a_place_of_this_epoch_all_is_told(self, store: OpenStore, forget: str) -> None:
        made = [a_revocation() for _ in range(3)]
        await store.revoke(made)
        page = await store.revocations()
        cursor = "nonsense" if forget in {"cursor", "both"} else page.cursor
        epoch = "another" if forget in {"epoch", "both"} else page.epoch
        assert await store.revocations(cursor, epoch) == page

    async def test_an_empty_store_has_an_epoch_and_a_cursor(self, stores: Stores) -> None:
        one, other = await stores.open().revocations(), await stores.open().revocations()
        assert len(one.epoch) >= 32
        assert one == RevocationPage(one.epoch, one.cursor, one.revocations) == other
        assert list(one.revocations) == []

    async def test_what_is_revoked_again_for_longer_is_told_again(self, store: OpenStore) -> None:
        await store.revoke([a_revocation("x"), a_revocation("y")])
        page = await store.revocations()
        await store.revoke([a_revocation("x", before=NOW + 5, until=NOW + 100)])
        news = await store.revocations(page.cursor, page.epoch)
        both = a_revocation("x", before=NOW + 5, until=NOW + 360)
        assert list(news.revocations) == [both]
        assert list((await store.revocations()).revocations) == [a_revocation("y"), both]

    async def test_what_is_revoked_again_and_says_no_more_changes_nothing(self, store: OpenStore) -> None:
        """Who repeats a request makes no work for the replicas, and no room is used."""
        await store.revoke([a_revocation("x"), a_revocation("y")])
        page = await store.revocations()
        await store.revoke([a_revocation("x", before=NOW - 5, until=NOW + 300)])
        assert list((await store.revocations(page.cursor, page.epoch)).revocations) == []
        assert list((await store.revocations()).revocations) == list(page.revocations)

    async def test_to_revoke_nothing_is_nothing(self, store: OpenStore) -> None:
        await store.revoke([])
        assert list((await store.revocations()).revocations) == []

    async def test_a_page_is_as_long_as_it_must_be(self, store: OpenStore) -> None:
        made = [a_revocation() for _ in range(6000)]
        await store.revoke(made)
        assert list((await store.revocations()).revocations) == made

    async def test_nothing_is_skipped_while_many_write(self, stores: Stores) -> None:
        """Each entry has a place behind all that anybody was told before, whoever writes it."""
        reader, writers = stores.open(), [stores.open() for _ in range(4)]
        seen: list[Revocation] = []
        acknowledged: set[str] = set()

        async def write(store: OpenStore, name: int) -> None:
            for n in range(50):
                made = [a_revocation(f"{name}-{n}"), a_revocation(f"{name}-{n}-too")]
                await store.revoke(made)
                acknowledged.update(one.value for one in made)

        page = await reader.revocations()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(write(store, name)) for name, store in enumerate(writers)]
            while True:
                ended = all(task.done() for task in tasks)
                before = set(acknowledged)
                page = await reader.revocations(page.cursor, page.epoch)
                seen += page.revocations
                assert before <= {one.value for one in seen}
                if ended:
                    break
                await asyncio.sleep(0)
        assert Counter(one.value for one in seen) == Counter(acknowledged)


class TestNames:
    async def test_a_name_is_used_once_until_its_time(self, stores: Stores) -> None:
        one, other = stores.open(), stores.open()
        assert await one.use_once("x\x00ä", NOW + 5, now=NOW)
        assert not await other.use_once("x\x00ä", NOW + 9, now=NOW + 4.999)
        assert await other.use_once("x\x00ä", NOW + 9, now=NOW + 5)
        assert not await one.use_once("x\x00ä", NOW + 9, now=NOW + 5)
        assert await one.use_once("y", NOW + 5, now=NOW)

    async def test_of_64_who_use_one_name_one_does(self, stores: Stores) -> None:
        replicas = [stores.open() for _ in range(4)]
        done = await asyncio.gather(*(replicas[n % 4].use_once("jti", NOW + 60, now=NOW) for n in range(64)))
        assert sum(done) == 1


class TestPurge:
    async def test_what_has_ended_is_forgotten_and_nothing_else(self, store: OpenStore) -> None:
        kept = [a_family(expires=NOW + 5), a_family(idle_until=NOW + 5), a_family(), a_family(idle_until=NOW + 5)]
        for family in kept:
            await store.begin(family)
        await rotated(store, kept[3].id, 1, 2)
        await store.revoke([a_revocation("gone", until=NOW + 5), a_revocation("stays", until=NOW + 5.001)])
        await store.use_once("gone", NOW + 5, now=NOW)
        await store.use_once("stays", NOW + 5.001, now=NOW)
        await store.put_client(PLAIN, replace=False)

        assert await store.purge(NOW + 4.999) == 0
        assert await store.purge(NOW + 5) == 4
        assert await store.purge(NOW + 5) == 0
        there = [await store.family(family.id) is not None for family in kept]
        assert there == [False, False, True, True]
        assert [one.value for one in (await store.revocations()).revocations] == ["stays"]
        assert not await store.use_once("stays", NOW + 9, now=NOW + 5)
        assert await store.client(PLAIN.id) == PLAIN

    async def test_a_revoked_family_is_remembered_until_it_would_have_ended(self, store: OpenStore) -> None:
        one = a_family(idle_until=NOW + 5)
        await store.begin(one)
        await store.end_family(one.id)
        assert await store.purge(NOW) == 0
        assert await store.family(one.id) == replace(one, revoked=True)
        assert await store.purge(NOW + 5) == 1

    async def test_a_family_that_is_forgotten_is_nobodys(self, store: OpenStore) -> None:
        await store.begin(a_family(idle_until=NOW + 5))
        await store.purge(NOW + 5)
        assert await store.end_families(client_id="shop") == 0
        assert await store.end_families(subject="alice") == 0

    async def test_what_is_purged_leaves_cursors_as_they_were(self, store: OpenStore) -> None:
        await store.revoke([a_revocation("old", until=NOW + 5)])
        page = await store.revocations()
        await store.purge(NOW + 5)
        assert await store.revocations(page.cursor, page.epoch) == replace(page, revocations=[])
        await store.revoke([a_revocation("new")])
        news = await store.revocations(page.cursor, page.epoch)
        assert [one.value for one in news.revocations] == ["new"]

    async def test_much_is_forgotten_in_one_call(self, store: OpenStore) -> None:
        await store.revoke([a_revocation(until=NOW + 5) for _ in range(2500)])
        assert await store.purge(NOW + 5) == 2500
        assert list((await store.revocations()).revocations) == []
