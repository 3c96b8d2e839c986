"""Whatever is asked in whatever order, all stores give the same answers: the one in memory says what is right."""

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from extauthz.errors import StoreError
from extauthz.stores import MemoryTokenStore
from extauthz.tokens.clients import Client, ExchangeRules
from extauthz.tokens.records import Revocation
from tests.stores.redis_server import running
from tests.stores.token_process import store_at
from tests.stores.token_stores import NOW, OpenStore, a_family, a_succession, digest

FEW: st.SearchStrategy[str] = st.sampled_from(["a", "ä\x00"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
# Few of each, so that what is at its very end, or the same as another, is no rarity.
TIMES = st.integers(0, 8).map(lambda n: NOW + n / 3)
TOKENS = st.integers(0, 3)

CLIENTS = st.builds(
    Client,
    FEW,
    st.sampled_from(["client_secret_basic", "tls_client_auth"]),
    st.frozensets(TEXT, max_size=2),
    st.lists(TEXT, max_size=3).map(tuple),
    roles=st.lists(TEXT, max_size=2).map(tuple),
    scopes=st.lists(TEXT, max_size=2).map(tuple),
    lifetime=st.none() | st.floats(0, 1e9),
    refresh=st.booleans(),
    exchange=st.none() | st.builds(ExchangeRules, st.frozensets(TEXT, max_size=2), st.none() | st.frozensets(TEXT)),
    secret_digests=st.lists(st.binary(max_size=40), max_size=2).map(tuple),
    public_keys=st.none() | st.dictionaries(TEXT, st.lists(st.none() | st.booleans() | st.floats(-1, 1) | TEXT)),
    disabled=st.booleans(),
)
REVOCATIONS = st.builds(Revocation, st.sampled_from(["token", "subject", "key"]), FEW, TIMES, TIMES)


class Model(RuleBasedStateMachine):
    """Asks two replicas of a store and the one in memory the same."""

    where: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.right: OpenStore = MemoryTokenStore()
        self.replicas = [store_at(self.where), store_at(self.where)]
        self.asked = 0
        # Where a reader of each has come to.
        self.cursors = [("", "")] * 2

    def teardown(self) -> None:
        for store in self.replicas:
            self.runner.run(store.close())
        self.runner.close()

    def same(self, name: str, *values: Any, **named: Any) -> Any:
        """What both answer."""
        self.asked += 1
        store = self.replicas[self.asked % 2]
        said = [self.answer(getattr(one, name)(*values, **named)) for one in (self.right, store)]
        assert said[0] == said[1]
        return said[0]

    def answer(self, asked: Coroutine[Any, Any, Any]) -> Any:
        try:
            said = self.runner.run(asked)
        except StoreError:
            return StoreError
        return list(said) if isinstance(said, list) else said

    @rule(client=CLIENTS, replace=st.booleans())
    def put_client(self, client: Client, *, replace: bool) -> None:
        self.same("put_client", client, replace=replace)

    @rule(client_id=FEW)
    def remove_client(self, client_id: str) -> None:
        self.same("remove_client", client_id)

    @rule(family_id=FEW, client=FEW, subject=FEW, expires=TIMES, idle_until=TIMES, current=TOKENS)
    def begin(self, family_id: str, client: str, subject: str, expires: float, idle_until: float, current: int) -> None:
        family = a_family(
            id=family_id,
            client_id=client,
            subject=subject,
            expires=expires,
            idle_until=idle_until,
            current=digest(current),
        )
        self.same("begin", family)

    @rule(
        family_id=FEW,
        presented=TOKENS,
        successor=TOKENS,
        sealed=st.binary(max_size=3),
        now=TIMES,
        grace=st.sampled_from([0.0, 1.0]),
        idle_until=TIMES,
    )
    def rotate(self, family_id: str, presented: int, successor: int, sealed: bytes, **times: float) -> None:
        self.same("rotate", family_id, a_succession(presented, successor, sealed, **times))

    @rule(family_id=FEW)
    def end_family(self, family_id: str) -> None:
        self.same("end_family", family_id)

    @rule(given=st.sampled_from([("client_id",), ("subject",), ("client_id", "subject")]), one=FEW, other=FEW)
    def end_families(self, given: tuple[str, ...], one: str, other: str) -> None:
        self.same("end_families", **dict(zip(given, (one, other), strict=False)))

    @rule(revocations=st.lists(REVOCATIONS, max_size=4))
    def revoke(self, revocations: list[Revocation]) -> None:
        self.same("revoke", revocations)

    @rule(number=st.sampled_from([0, 1]))
    def go_on_reading(self, number: int) -> None:
        """Cursors are each store's own; what comes after them is the same."""
        news = []
        for place, store in ((0, self.right), (1, self.replicas[number])):
            page = self.runner.run(store.revocations(*self.cursors[place]))
            self.cursors[place] = (page.cursor, page.epoch)
            news.append(list(page.revocations))
        assert news[0] == news[1]

    @rule(name=FEW, until=TIMES, now=TIMES)
    def use_once(self, name: str, until: float, now: float) -> None:
        self.same("use_once", name, until, now=now)

    @rule(now=TIMES)
    def purge(self, now: float) -> None:
        self.same("purge", now)

    @precondition(lambda self: self.asked % 5 == 0)
    @invariant()
    def keeps_the_same(self) -> None:
        self.same("clients")
        for name in ("a", "ä\x00"):
            self.same("client", name)
            self.same("family", name)
        kept = [list(self.runner.run(store.revocations()).revocations) for store in (self.right, *self.replicas)]
        assert kept[0] == kept[1] == kept[2]


@contextmanager
def empty_place(kind: str, folder: Path) -> Iterator[type[Model]]:
    """A machine each of whose runs begins with an empty store."""
    with ExitStack() as stack:
        server = stack.enter_context(running(folder)) if kind == "redis" else None

        class Fresh(Model):
            def __init__(self) -> None:
                if server is None:
                    self.folder = tempfile.TemporaryDirectory(dir=folder)
                    type(self).where = str(Path(self.folder.name) / "state.db")
                else:
                    server.command("FLUSHALL")
                    type(self).where = server.url
                super().__init__()

            def teardown(self) -> None:
                super().teardown()
                if server is None:
                    self.folder.cleanup()

        yield Fresh


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
def test_a_store_answers_as_the_one_in_memory_does(kind: str, tmp_path: Path) -> None:
    with empty_place(kind, tmp_path) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
