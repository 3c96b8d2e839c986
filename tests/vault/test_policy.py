"""The policy that we ship is enough for the server's whole life, each part of it is needed, and it gives nothing else (K14)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from extauthz.errors import ExtAuthzError
from extauthz.vault import AppRoleLogin, KvKeys, References, SecretFiles, TransitKeys, Vault
from tests.stores.redis_server import RedisServer
from tests.stores.redis_server import running as redis_running
from tests.vault.openbao import POLICY, OpenBao, RefusedError, running

pytestmark = pytest.mark.system("redis-server")

_BLOCK = re.compile(r'^path "(?P<path>[^"]+)"\s*\{(?:[^{}]|\{[^{}]*\})*\}', re.MULTILINE)
_CAPABILITIES = re.compile(r"capabilities\s*=\s*\[(?P<list>[^\]]*)\]")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[OpenBao]:
    """A server in which all has the names of the defaults."""
    with running(tmp_path_factory.mktemp("policy")) as bao:
        redis_server.command("acl", "setuser", "vault", "on", ">adminpw", "~*", "&*", "+@all")
        bao.api("POST", "sys/mounts/transit", {"type": "transit"})
        bao.api("POST", "sys/mounts/database", {"type": "database"})
        store = {"plugin_name": "valkey-database-plugin", "host": "127.0.0.1", "port": redis_server.port}
        login = {"username": "vault", "password": "adminpw", "tls": False, "allowed_roles": "*"}
        bao.api("POST", "database/config/store", store | login)
        bao.api("POST", "database/roles/extauthz", {"db_name": "store", "creation_statements": '["~*", "+@all"]'})
        bao.api("POST", "secret/data/auth", {"data": {"password": "hunter2"}})
        bao.api("POST", "sys/auth/approle", {"type": "approle"})
        bao.api(
            "POST",
            "auth/approle/role/auth",
            {
                "token_policies": ["extauthz"],
                "token_no_default_policy": True,
                "token_ttl": "60s",
                "bind_secret_id": False,
            }
            | {"token_bound_cidrs": ["127.0.0.1/32"]},
        )
        yield bao


def login(server: OpenBao) -> AppRoleLogin:
    role_id = server.api("GET", "auth/approle/role/auth/role-id")["data"]["role_id"]
    return AppRoleLogin(role_id, None, None)


def clean(server: OpenBao) -> None:
    """As before the first start."""
    with suppress(RefusedError):
        server.api("POST", "transit/keys/extauthz-es256/config", {"deletion_allowed": True})
        server.api("DELETE", "transit/keys/extauthz-es256")
    server.api("DELETE", "secret/metadata/auth/signing-keys")


@asynccontextmanager
async def no_fault(name: str, failed: list[str]) -> AsyncIterator[None]:
    try:
        yield
    except ExtAuthzError as error:
        failed.append(f"{name}: {error}")


async def life(server: OpenBao, folder: Path) -> list[str]:
    """All that the server ever does with Vault; gives what it could not do."""
    failed: list[str] = []
    vault = Vault(server.settings(login=login(server), secrets_path="secret/auth"), clock=time.monotonic, now=time.time)
    task = asyncio.create_task(vault.run())
    transit, kv = TransitKeys(vault, "extauthz"), KvKeys(vault, "secret/auth/signing-keys")
    references = References(vault, clock=time.monotonic, files=SecretFiles(folder))
    steps: dict[str, Callable[[], Awaitable[Any]]] = {
        "transit": lambda: turn(transit),
        "kv": lambda: turn(kv),
        "own secrets": lambda: asyncio.to_thread(references.value, "", "password"),
        "lease": lambda: asyncio.to_thread(references.file, "database/creds/extauthz", "password"),
        "renewal": lambda: asyncio.to_thread(vault.session.renew),
    }
    for name, step in steps.items():
        async with no_fault(name, failed):
            await step()
    failed += [] if vault.session.counts.renewals else ["the token was not renewed"]
    async with no_fault("look", failed):
        await vault.call(lambda client: client.auth.token.lookup_self())
    for held in references._held.values():
        if held.secret.lease_id:
            async with no_fault("lease renewal", failed):
                failed += ["lease: not renewed"] if await references._renewed(held) is None else []
    task.cancel()
    await asyncio.wait({task})
    leases = [held.secret.lease_id for held in references._held.values() if held.secret.lease_id]
    for lease in leases:
        references._unrevoked[lease] = ""
    await references._revoke(leases)
    failed += [f"revocation: {error}" for error in references._unrevoked.values()]
    async with no_fault("token", failed):
        await asyncio.to_thread(vault.session.close)
    references._unrevoked.clear()
    references._held.clear()
    await references.close()
    await vault.close()
    return failed


async def turn(keys: TransitKeys | KvKeys) -> None:
    """Keys come, sign, and go, all of them in the end."""
    first = await keys.add("ES256", newest=None, created=1.0)
    assert await keys.sign(first.kid, b"x")
    second = await keys.add("ES256", newest=first.kid, created=2.0)
    await keys.remove(first.kid)
    assert [version.kid for version in await keys.versions()] == [second.kid]
    await keys.remove(second.kid)


def lesser_policies() -> list[tuple[str, str]]:
    """The policy without one capability each, by its name."""
    found = []
    for block in _BLOCK.finditer(POLICY):
        match = _CAPABILITIES.search(block[0])
        assert match is not None
        capabilities = [word.strip() for word in match["list"].split(",")]
        for one in capabilities:
            rest = ", ".join(word for word in capabilities if word != one)
            text = block[0].replace(match[0], f"capabilities = [{rest}]")
            found.append((f"{one} {block['path']}", POLICY.replace(block[0], text if rest else "")))
    return found


async def test_it_is_enough(server: OpenBao, tmp_path: Path) -> None:
    """With it and nothing else, all works."""
    server.api("PUT", "sys/policies/acl/extauthz", {"policy": POLICY})
    clean(server)
    assert await life(server, tmp_path) == []


@pytest.mark.parametrize("lacking", [name for name, _ in lesser_policies()])
async def test_each_part_is_needed(server: OpenBao, tmp_path: Path, lacking: str) -> None:
    """Without it something does not work."""
    server.api("PUT", "sys/policies/acl/extauthz", {"policy": dict(lesser_policies())[lacking]})
    clean(server)
    assert await life(server, tmp_path) != []


FORBIDDEN: tuple[tuple[str, str, Any], ...] = (
    ("GET", "transit/export/signing-key/extauthz-es256", None),
    ("GET", "transit/backup/extauthz-es256", None),
    ("DELETE", "transit/keys/extauthz-es256", None),
    ("POST", "transit/keys/extauthz-es256/config", {"deletion_allowed": True}),
    ("POST", "transit/keys/extauthz-es256/config", {"exportable": True}),
    ("POST", "transit/keys/extauthz-es256/config", {"allow_plaintext_backup": True}),
    ("POST", "transit/keys/extauthz-es256", {"type": "ecdsa-p256", "exportable": True}),
    ("POST", "transit/keys/another", {"type": "ecdsa-p256"}),
    ("POST", "transit/sign/another", {"input": "eA=="}),
    ("POST", "transit/keys/extauthz-es256/trim", {"min_available_version": 1}),
    ("GET", "secret/data/others", None),
    ("GET", "secret/metadata/auth?list=true", None),
    ("DELETE", "secret/metadata/auth", None),
    ("POST", "secret/data/auth", {"data": {"password": "mine"}}),
    ("GET", "database/creds/others", None),
    ("GET", "sys/policies/acl/extauthz", None),
    ("PUT", "sys/policies/acl/extauthz", {"policy": 'path "*" { capabilities = ["sudo"] }'}),
    ("POST", "auth/token/create", {}),
    ("PUT", "sys/seal", None),
)


@pytest.mark.parametrize(
    ("method", "path", "body"), FORBIDDEN, ids=[f"{one[0]} {one[1]} {one[2]}" for one in FORBIDDEN]
)
def test_it_gives_nothing_else(server: OpenBao, method: str, path: str, body: Any) -> None:
    """Who steals the server's token takes no key away, destroys none, and reads nobody else's secrets."""
    server.api("PUT", "sys/policies/acl/extauthz", {"policy": POLICY})
    server.api("POST", "transit/keys/extauthz-es256", {"type": "ecdsa-p256"})
    token = server.api("POST", "auth/token/create", {"policies": ["extauthz"], "no_default_policy": True})
    with pytest.raises(RefusedError, match="403"):
        server.api(method, path, body, token=token["auth"]["client_token"])
