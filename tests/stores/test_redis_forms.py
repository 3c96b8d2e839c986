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
