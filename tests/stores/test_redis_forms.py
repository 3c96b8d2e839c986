"""Each form of store.url, with a server of its kind: TLS, accounts, sentinel, cluster."""

import asyncio
from pathlib import Path

import pytest
import trustme

from extauthz.limits import Counted, CountersError, Wanted
from extauthz.model import Rate
from extauthz.stores import RedisCounters, StoreSettings
from tests.stores.redis_server import RedisServer, cluster, running

pytestmark = pytest.mark.system("redis-server")

WANTED = Wanted(bytes(16), Rate(5))


async def asked(settings: StoreSettings) -> Counted:
    counters = RedisCounters(settings)
    try:
        return await counters.ask(WANTED)
    finally:
        await counters.close()


def tls_options(folder: Path) -> tuple[list[str], int]:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    port = RedisServer(folder).port
    files = [f"tls-ca-cert-file {folder}/ca.pem", f"tls-cert-file {folder}/cert.pem", f"tls-key-file {folder}/key.pem"]
    return [f"tls-port {port}", *files], port


async def test_tls_with_a_certificate_on_both_sides(tmp_path: Path) -> None:
    options, port = tls_options(tmp_path)
    with running(tmp_path, *options):
        said = await asked(
            StoreSettings(
                f"rediss://127.0.0.1:{port}",
                ca_file=str(tmp_path / "ca.pem"),
                cert_file=str(tmp_path / "cert.pem"),
                key_file=str(tmp_path / "key.pem"),
                timeout=5,
            )
        )
    assert said.granted == 1


async def test_a_store_with_the_certificate_of_somebody_else_is_not_asked(tmp_path: Path) -> None:
    options, port = tls_options(tmp_path)
    with running(tmp_path, *options, "tls-auth-clients no"):
        url = f"rediss://127.0.0.1:{port}"
        with pytest.raises(CountersError, match="certificate verify failed"):
            await asked(StoreSettings(url, ca_file=str(tmp_path / "other.pem"), timeout=5))


@pytest.mark.parametrize("in_url", [True, False])
async def test_an_account_with_a_password_of_a_file(tmp_path: Path, *, in_url: bool) -> None:
    file = tmp_path / "password"
    with running(tmp_path, "user default off", "user rates on >secret ~extauthz:* +@all") as server:
        file.write_text("secret\n")
        url = f"redis://rates@127.0.0.1:{server.port}" if in_url else server.url
        user = None if in_url else "rates"
        said = await asked(StoreSettings(url, username=user, password_file=str(file), timeout=5))
    assert said.granted == 1


async def test_a_wrong_password_is_the_stores_fault_and_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong-password\n")
    with running(tmp_path, "requirepass right-password") as server, pytest.raises(CountersError) as caught:
        await asked(StoreSettings(server.url, password_file=str(file), timeout=5))
    assert not caught.value.only_this
    assert "wrong-password" not in str(caught.value)


async def test_a_sentinel_says_where_the_store_is(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        monitored = f"sentinel monitor main 127.0.0.1 {server.port} 1"
        with running(tmp_path, monitored, sentinel=True) as sentinel:
            said = await asked(StoreSettings(f"redis+sentinel://127.0.0.1:{sentinel.port}/main", timeout=5))
    assert said.granted == 1


async def test_a_cluster_counts_each_key_in_its_place(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        counters = RedisCounters(StoreSettings(f"redis+cluster://127.0.0.1:{nodes[0].port}", timeout=5))
        try:
            asked_for = [Wanted(bytes([n]) * 16, Rate(2)) for n in range(30)] * 3
            said = await asyncio.gather(*(counters.ask(wanted) for wanted in asked_for))
            replicas = await counters.heartbeat()
        finally:
            await counters.close()
        sizes = [int(node.command("DBSIZE")) for node in nodes]
    assert sum(one.granted for one in said) == 60
    assert all(sizes)
    assert replicas == 1


USERS = tuple(f"user {name} on >secret-{name} ~* &* +@all" for name in ("one", "two"))


class Lent:
    """A user of the store, who is another one from time to time."""

    def __init__(self, folder: Path) -> None:
        self.user, self.password = folder / "user", folder / "password"
        self.become("one")

    def become(self, name: str) -> None:
        self.user.write_text(f"{name}\n")
        self.password.write_text(f"secret-{name}\n")

    def settings(self, url: str) -> StoreSettings:
        return StoreSettings(url, username_file=str(self.user), password_file=str(self.password), timeout=5)


def users(nodes: list[RedisServer]) -> set[str]:
    """Whose connections are in use, beside those of the tests and of the servers themselves. The one over which a cluster was
    asked for its nodes is not used again while those stay.
    """
    lines = [
        line for node in nodes for line in node.command("CLIENT", "LIST").splitlines() if "cluster|slots" not in line
    ]
    return {field[5:] for line in lines for field in line.split() if field.startswith("user=")} - {"default"}


async def follows(lent: Lent, url: str, nodes: list[RedisServer]) -> None:
    """The first use of each connection after the change is its last: until then it is good."""
    counters = RedisCounters(lent.settings(url))
    wanted = [Wanted(bytes([n]) * 16, Rate(100)) for n in range(30)]
    try:
        for name in ("one", "two", "one"):
            lent.become(name)
            for _ in range(3):
                said = [await counters.ask(one) for one in wanted]
                assert {one.granted for one in said} == {1}
            await asyncio.sleep(0.1)  # who is let go of is let go of beside the requests
            assert users(nodes) == {name}
    finally:
        await counters.close()


async def test_a_store_moves_to_the_next_user_that_is_lent(tmp_path: Path) -> None:
    """Before the last one ends, and with it his connections."""
    with running(tmp_path, *USERS) as server:
        await follows(Lent(tmp_path), server.url, [server])
        await follows(Lent(tmp_path), f"redis+unix://{server.socket}", [server])


async def test_a_store_behind_a_sentinel_does_so_too(tmp_path: Path) -> None:
    with running(tmp_path, *USERS) as server:
        monitored = f"sentinel monitor main 127.0.0.1 {server.port} 1"
        with running(tmp_path, monitored, sentinel=True) as sentinel:
            await follows(Lent(tmp_path), f"redis+sentinel://127.0.0.1:{sentinel.port}/main", [server])


async def test_all_nodes_of_a_cluster_do_so_too(tmp_path: Path) -> None:
    with cluster(tmp_path, *USERS) as nodes:
        await follows(Lent(tmp_path), f"redis+cluster://127.0.0.1:{nodes[0].port}", nodes)
