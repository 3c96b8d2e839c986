"""What a configuration refers to: read, followed, lent and given back, against a real OpenBao and a real Redis."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from extauthz.errors import VaultError
from extauthz.stores.client import open_client
from extauthz.stores.settings import StoreSettings
from extauthz.vault import References, SecretFiles, TokenLogin, Vault
from tests.stores.redis_server import RedisServer
from tests.stores.redis_server import running as redis_running
from tests.vault.openbao import OpenBao


@pytest.fixture
def kv(bao: OpenBao) -> str:
    """An engine with one secret, ``auth``."""
    mount = bao.mount("kv", version="2")
    bao.api("POST", f"{mount}/data/auth", {"data": {"password": "hunter2", "port": 7, "jwks": {"keys": []}}})
    return mount


@pytest.fixture
def vault_settings(kv: str) -> dict[str, Any]:
    return {"secrets_path": f"{kv}/auth", "refresh": 1.0}


@pytest.fixture
async def vault(bao: OpenBao, vault_settings: dict[str, Any]) -> AsyncIterator[Vault]:
    opened = bao.vault(**vault_settings)
    yield opened
    await opened.close()


@pytest.fixture
async def references(vault: Vault, tmp_path: Path) -> AsyncIterator[References]:
    found = References(vault, clock=time.monotonic, files=SecretFiles(tmp_path))
    yield found
    await found.close()


@contextlib.asynccontextmanager
async def followed(references: References) -> AsyncIterator[list[str]]:
    """The names of values that changed, as they are told."""
    told: list[str] = []

    def changed(names: Sequence[str]) -> None:
        told.extend(names)

    task = asyncio.create_task(references.follow(changed))
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def held_by(file: Path) -> bytes:
    """What is in a file; nothing if there is none."""
    return file.read_bytes() if file.exists() else b""


async def until(condition: Any, within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_values_are_what_they_are(references: References, kv: str) -> None:
    """Text, numbers, mappings; an empty path is that of the service's own secrets; with and without ``data``."""
    for path in ("", f"{kv}/auth", f"{kv}/data/auth"):
        assert references.value(path, "password") == "hunter2"
        assert references.value(path, "port") == 7
    assert references.value("", "jwks") == {"keys": []}


def test_version_one_of_the_engine(references: References, bao: OpenBao) -> None:
    """Is read as well."""
    mount = bao.mount("kv", version="1")
    bao.api("POST", f"{mount}/team/auth", {"password": "old"})
    assert references.value(f"{mount}/team/auth", "password") == "old"


def test_files(references: References, kv: str) -> None:
    """Text as it is, anything else as JSON."""
    assert Path(references.file("", "password")).read_bytes() == b"hunter2"
    assert Path(references.file("", "jwks")).read_bytes() == b'{"keys": []}'
    assert references.file(f"{kv}/auth", "password") == references.file("", "password")


@pytest.mark.parametrize(
    ("path", "field", "told"),
    [
        ("", "nothing", "it has no field 'nothing'"),
        ("{kv}/nothing", "x", "there is no such secret"),
        ("{kv}", "x", "it names an engine, and no secret in it"),
        ("nowhere/at/all", "x", "HTTP 403"),
    ],
)
def test_what_is_not_there(references: References, kv: str, path: str, field: str, told: str) -> None:
    """Is told, without what else is there."""
    with pytest.raises(VaultError, match=told) as caught:
        references.value(path.format(kv=kv), field)
    assert "hunter2" not in str(caught.value)


async def test_a_secret_that_changes(references: References, bao: OpenBao, kv: str) -> None:
    """Files are written; of values the owner is told; what it does not refer to is nobody's business."""
    file = Path(references.file("", "password"))
    references.value("", "port")
    async with followed(references) as told:
        bao.api("POST", f"{kv}/data/auth", {"data": {"password": "new", "port": 7, "other": 1}})
        await until(lambda: file.read_bytes() == b"new")
        assert told == []
        bao.api("POST", f"{kv}/data/auth", {"data": {"password": "new", "port": 8}})
        await until(lambda: told == [f"{kv}/auth#port"])


async def test_a_secret_that_is_gone_stays_as_it_was(references: References, bao: OpenBao, kv: str) -> None:
    """So it is with a field. Readiness says so, until it is back."""
    file = Path(references.file("", "password"))
    async with followed(references):
        bao.api("POST", f"{kv}/data/auth", {"data": {"port": 7}})
        await until(lambda: not references.state().ok)
        assert "it has no field 'password'" in references.state().text
        bao.api("DELETE", f"{kv}/data/auth")
        await until(lambda: "there is no such secret" in references.state().text)
        assert held_by(file) == b"hunter2"
        bao.api("POST", f"{kv}/data/auth", {"data": {"password": "back"}})
        await until(lambda: file.read_bytes() == b"back")
        await until(lambda: references.state().ok)


def test_one_wait_is_enough(raft: OpenBao, tmp_path: Path) -> None:
    """While Vault is down, the first reference waits for it, and no other one."""
    raft.seal()
    vault = raft.vault()
    references = References(vault, clock=time.monotonic, files=SecretFiles(tmp_path))
    for name in range(50):
        with pytest.raises(VaultError, match="it is sealed"):
            references.value(f"secret/{name}", "x")
    assert vault.counts().login_failures == 1


# ----------------------------------------------------------------------------------------------------- what is lent


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def lent(bao: OpenBao, redis_server: RedisServer) -> str:
    """The path of users of that Redis who are made up and live for three seconds, five at most."""
    redis_server.command("acl", "setuser", "vault", "on", ">adminpw", "~*", "&*", "+@all")
    mount = bao.mount("database")
    bao.api(
        "POST",
        f"{mount}/config/store",
        {
            "plugin_name": "valkey-database-plugin",
            "host": "127.0.0.1",
            "port": redis_server.port,
            "username": "vault",
            "password": "adminpw",
            "tls": False,
            "allowed_roles": "*",
        },
    )
    role = {"db_name": "store", "creation_statements": '["~*", "+@all"]', "default_ttl": "3s", "max_ttl": "5s"}
    bao.api("POST", f"{mount}/roles/extauthz", role)
    return f"{mount}/creds/extauthz"


def users(server: RedisServer) -> set[str]:
    return {line.split()[1] for line in server.command("acl", "list").splitlines()} - {"default", "vault"}


@pytest.mark.system("redis-server")
def test_user_and_password_are_of_one_lease(references: References, lent: str, redis_server: RedisServer) -> None:
    """However many refer to it, one is lent."""
    before = users(redis_server)
    user = Path(references.file(lent, "username")).read_text()
    password = Path(references.file(lent, "password")).read_text()
    assert (references.value(lent, "username"), references.value(lent, "password")) == (user, password)
    assert users(redis_server) - before == {user}
    assert redis_server.command("--user", user, "--pass", password, "--no-auth-warning", "ping") == "PONG"


@pytest.mark.system("redis-server")
async def test_a_client_works_on_while_users_come_and_go(
    references: References, lent: str, redis_server: RedisServer
) -> None:
    """Leases are renewed, and read anew before the end of their longest life. Connections move on to the next user while the
    old one lives, so that nothing fails when Vault ends it.
    """
    settings = StoreSettings(
        redis_server.url,
        username_file=references.file(lent, "username"),
        password_file=references.file(lent, "password"),
        timeout=2.0,
    )
    client: Any = open_client(settings)
    seen: dict[str, None] = {}
    async with followed(references):
        end = time.monotonic() + 20.0
        while len(seen) < 2 or next(iter(seen)) in users(redis_server):
            assert time.monotonic() < end
            for user in await asyncio.gather(*(client.acl_whoami() for _ in range(3))):
                seen[user] = None
            await asyncio.sleep(0.05)
        assert references.state().ok
    await client.aclose()


@pytest.mark.system("redis-server")
async def test_what_is_lent_is_given_back(vault: Vault, lent: str, redis_server: RedisServer, tmp_path: Path) -> None:
    """When the server stops, and when the configuration does not refer to it any more."""
    references = References(vault, clock=time.monotonic, files=SecretFiles(tmp_path))
    file = Path(references.file(lent, "username"))
    user = held_by(file).decode()
    assert user in users(redis_server)
    references.begin()
    references.settle()
    assert held_by(file) == b""
    async with followed(references):
        await until(lambda: user not in users(redis_server))
    assert references.unrevoked == 0
    user = references.value(lent, "username")
    await references.close()
    assert user not in users(redis_server)


@pytest.mark.system("redis-server")
async def test_leases_that_died_with_the_token_are_read_anew(
    bao: OpenBao, lent: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """K12: the token was revoked, and all that was lent with it."""
    policy = f'path "{lent}" {{ capabilities = ["read"] }}\npath "sys/leases/*" {{ capabilities = ["update"] }}'
    policy += '\npath "auth/token/lookup-self" { capabilities = ["read"] }'
    file = tmp_path / "token"
    first, second = bao.token_with(policy), bao.token_with(policy)
    file.write_text(first)
    vault = Vault(bao.settings(login=TokenLogin(str(file))), clock=time.monotonic, now=time.time)
    references = References(vault, clock=time.monotonic, files=SecretFiles(tmp_path))
    old = references.value(lent, "username")
    await asyncio.sleep(2.0)  # a login that was just made is not doubted
    file.write_text(second)
    bao.api("POST", "auth/token/revoke", {"token": first})
    assert old not in users(redis_server)
    async with followed(references) as told:
        await until(lambda: f"{lent}#username" in told)
    assert references.value(lent, "username") in users(redis_server)
    await references.close()
    await vault.close()


@pytest.mark.system("redis-server")
async def test_a_revocation_that_can_not_be_done_is_tried_again_and_told(
    vault: Vault, lent: str, redis_server: RedisServer, tmp_path: Path, bao: OpenBao
) -> None:
    """K16: the database does not answer Vault. It is not forgotten; in the text is where it is from, and not its id."""
    references = References(vault, clock=time.monotonic, files=SecretFiles(tmp_path))
    user = references.value(lent, "username")
    lease = next(iter(references._held.values())).secret.lease_id
    redis_server.command("acl", "setuser", "vault", "off")
    redis_server.command("client", "kill", "user", "vault")
    references.begin()
    references.settle()
    async with followed(references):
        await until(lambda: not references.state().ok)
        assert references.unrevoked == 1
        text = references.state().text
        assert f"a lease of {lent} is not revoked" in text
        assert lease not in text
        redis_server.command("acl", "setuser", "vault", "resetpass", ">adminpw", "on")
        references._revoke_at = 0.0
        await until(lambda: references.unrevoked == 0)
    assert user not in users(redis_server)
    assert references.state().ok
