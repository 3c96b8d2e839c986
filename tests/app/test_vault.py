"""Vault as the composition root opens it, without asking it anything."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from extauthz.app.vault import Secrets, key_backend, vault
from extauthz.config import AppRole, JwtAuth, KubernetesAuth, VaultAuth
from extauthz.config import Vault as Section
from extauthz.errors import ConfigError, SigningError
from extauthz.serving import Readiness
from extauthz.vault import AppRoleLogin, JwtLogin, KvKeys, TokenLogin, TransitKeys

ADDRESS = "http://127.0.0.1:1"
TOKEN = {"VAULT_TOKEN": "hvs.canary"}


def section(**settings: object) -> Section:
    return Section.model_validate({"address": ADDRESS, **settings})


def test_there_is_none() -> None:
    """Nothing names one: nothing is opened, and nothing runs."""
    assert vault(Section(), TOKEN) is None
    with Secrets(TOKEN) as secrets:
        assert secrets.tasks(Readiness(), lambda _: None) == {}
        assert (secrets.counts(), secrets.unrevoked) == (None, 0)
        with pytest.raises(ConfigError, match=r"vault\.address: something is in Vault"):
            secrets.vault(Section())


def test_ways_to_log_in() -> None:
    """Each becomes its value; VAULT_TOKEN counts if none is written, and without it there is no way."""
    ways = {
        VaultAuth(tokenFile="t"): TokenLogin("t"),
        VaultAuth(appRole=AppRole(roleId="r", secretIdFile="s", wrapped=True, mount="m")): AppRoleLogin(
            "r", None, "s", True, "m"
        ),
        VaultAuth(kubernetes=KubernetesAuth(role="r", tokenFile="t")): JwtLogin("r", "t", "kubernetes"),
        VaultAuth(jwt=JwtAuth(role="r", tokenFile="t", mount="m")): JwtLogin("r", "t", "m"),
        VaultAuth(): TokenLogin(token="hvs.canary"),
    }
    for auth, login in ways.items():
        opened = vault(Section(address=ADDRESS, auth=auth), TOKEN)
        assert opened is not None
        assert opened.settings.login == login
        assert "canary" not in repr(opened.settings)
    with pytest.raises(ConfigError, match=r"vault\.auth: it is not said how to log in"):
        vault(section(), {"VAULT_TOKEN": " "})


def test_a_wrapped_secret_id_is_for_the_server(tmp_path: Path) -> None:
    """A command beside it does not open it: it takes VAULT_TOKEN, or says so."""
    wrapped = section(auth={"appRole": {"roleId": "r", "secretIdFile": "s", "wrapped": True}})
    with Secrets(TOKEN, passing=True) as secrets:
        assert secrets.vault(wrapped).settings.login == TokenLogin(token="hvs.canary")
    with Secrets({}, passing=True) as secrets, pytest.raises(ConfigError, match="set VAULT_TOKEN for this command"):
        secrets.vault(wrapped)
    with Secrets(TOKEN) as secrets:
        assert isinstance(secrets.vault(wrapped).settings.login, AppRoleLogin)


async def test_signing_keys() -> None:
    """Where they are if nothing else is said. That nobody answers is told when they are asked for, and at once after that."""
    opened = vault(section(secretsPath="secret/auth"), TOKEN)
    assert opened is not None
    transit = key_backend(opened, "transit")
    assert isinstance(transit, TransitKeys)
    assert (transit._key, transit._mount) == ("extauthz", "transit")
    kv = key_backend(opened, "kv")
    assert isinstance(kv, KvKeys)
    assert kv._path == "secret/auth/signing-keys"
    for _ in range(3):
        with pytest.raises(SigningError, match=r"Connection refused|not asked"):
            await kv.versions()
    with pytest.raises(SigningError, match="not asked, since it does not answer"):
        await transit.versions()
    without = vault(section(), TOKEN)
    assert without is not None
    with pytest.raises(ConfigError, match=r"vault\.secretsPath: keys in Vault's key-value engine are below it"):
        key_backend(without, "kv")
    await opened.close()


def test_another_vault_needs_a_restart() -> None:
    """What is lent hangs on the one that lent it."""
    with Secrets(TOKEN) as secrets:
        first = secrets.vault(section())
        assert secrets.vault(section()) is first
        with pytest.raises(ConfigError, match="needs a restart"):
            secrets.vault(section(namespace="other"))


async def test_readiness_tells() -> None:
    """Of Vault and of the secrets, although readiness does not depend on them."""
    secrets = Secrets(TOKEN)
    secrets.source(section())
    readiness = Readiness()
    changed: list[Sequence[str]] = []
    tasks = secrets.tasks(readiness, changed.append)
    assert set(tasks) == {"vault", "vault state", "vault secrets"}
    task = asyncio.ensure_future(tasks["vault state"]())
    await asyncio.sleep(0)
    assert "[-] vault: not logged in yet" in readiness.report()
    assert "[+] vault secrets: 0 secrets, 0 of them lent" in readiness.report()
    task.cancel()


def test_a_configuration_without_references_asks_nobody(tmp_path: Path) -> None:
    """Although a Vault is named, that nobody answers at is no fault."""
    file = tmp_path / "extauthz.yaml"
    file.write_text(f"vault: {{address: '{ADDRESS}'}}")
    with Secrets({}) as secrets:
        assert secrets.load(str(file)).vault.address == ADDRESS
