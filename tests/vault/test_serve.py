"""``extauthz serve`` and ``validate`` with a configuration whose values are in a real OpenBao."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joserfc.jwk
import pytest

from extauthz.cli import main
from mesh.address import free_addresses
from mesh.processes import Process
from mesh.proxy import PROJECT
from tests.e2e.test_workers import consecutive
from tests.vault.openbao import OpenBao, RefusedError

pytestmark = pytest.mark.timeout(120)

CANARY = "hunter2-canary"
CONFIG = """
vault:
  address: {url}
  auth: {{appRole: {{roleIdFile: role-id, secretIdFile: secret-id, mount: {approle}}}}}
  secretsPath: {kv}/auth
  refresh: 1s
workers: {workers}
limits: {{perProcess: true}}
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{drainDelay: 100ms, grace: 1s}}
policies: {{files: [policies]}}
providers:
- name: "vault:#provider"
  jwt: {{issuer: "https://issuer.example", audiences: [orders], jwksFile: "vault:#jwks"}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: all}
spec: {rules: [{role: user}]}
"""


def jwks(count: int) -> dict[str, Any]:
    keys = [joserfc.jwk.ECKey.generate_key("P-256", {"kid": str(number)}) for number in range(count)]
    return {"keys": [key.as_dict(private=False) for key in keys]}


class Site:
    """A configuration, its secrets, and how an operator changes them."""

    def __init__(self, bao: OpenBao, folder: Path, *, workers: int = 1) -> None:
        self.bao = bao
        self.folder = folder
        self.kv = bao.mount("kv", version="2")
        self.approle = bao.mount("transit").replace("transit", "approle")
        bao.api("POST", f"sys/auth/{self.approle}", {"type": "approle"})
        policy = f'path "{self.kv}/data/auth" {{ capabilities = ["read"] }}'
        bao.api("PUT", f"sys/policies/acl/{self.approle}", {"policy": policy})
        bao.api("POST", f"auth/{self.approle}/role/auth", {"token_policies": [self.approle], "token_ttl": "120s"})
        role_id = bao.api("GET", f"auth/{self.approle}/role/auth/role-id")["data"]["role_id"]
        secret_id = bao.api("POST", f"auth/{self.approle}/role/auth/secret-id")["data"]["secret_id"]
        (folder / "role-id").write_text(role_id)
        (folder / "secret-id").write_text(secret_id)
        (folder / "policies").mkdir()
        (folder / "policies" / "all.yaml").write_text(POLICY)
        check = consecutive()[0]
        (self.admin,) = free_addresses(0)
        self.file = folder / "extauthz.yaml"
        self.file.write_text(
            CONFIG.format(url=bao.url, approle=self.approle, kv=self.kv, workers=workers, check=check, admin=self.admin)
        )
        self.write(provider="first", jwks=jwks(1))
        self.process = Process(
            "extauthz",
            [sys.executable, "-m", "extauthz", "serve", "--config", str(self.file)],
            log=folder / "log",
            ready=[lambda: "\nready" in self.report()],
            directory=PROJECT,
            ready_within=60,  # workers start one after the other, and each reads from Vault
        )

    def write(self, **secrets: Any) -> None:
        self.bao.api("POST", f"{self.kv}/data/auth", {"data": {"canary": CANARY, **secrets}})

    def report(self) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz?verbose", timeout=5) as answer:
                return "\n" + str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())
        except OSError:
            return ""

    def tokens(self) -> int:
        """Tokens of this site's role that Vault knows."""
        count = 0
        for accessor in self.bao.api("GET", "auth/token/accessors?list=true")["data"]["keys"]:
            with contextlib.suppress(RefusedError):  # it may have ended by now
                found = self.bao.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
                count += found["path"] == f"auth/{self.approle}/login"
        return count

    @property
    def log(self) -> str:
        return self.process.log.read_text()


def until(condition: Callable[[], Any], within: float = 30.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def site(bao: OpenBao, tmp_path: Path) -> Iterator[Site]:
    made = Site(bao, tmp_path)
    yield made
    made.process.stop()


def secret_folders() -> set[Path]:
    return set(Path("/dev/shm").glob("extauthz-secrets-*"))


def test_a_server_takes_what_changes(site: Site) -> None:
    """A file without anybody noticing; a value with a server that takes the place of the old one, in the same process. What
    can't be used changes nothing. At the end all is given back.
    """
    before = secret_folders()
    with site.process as process:
        assert "[+] vault: the token ends in " in site.report()
        assert "[+] vault secrets: 1 secret, 0 of them lent" in site.report()
        assert "[+] provider first" in site.report()
        assert site.tokens() == 1
        [folder] = secret_folders() - before

        site.write(provider="first", jwks=jwks(2))
        until(lambda: "its files are written" in site.log)
        assert "starting anew" not in site.log

        site.write(provider="not a name!", jwks=jwks(2))
        until(lambda: "the server goes on with the old one" in site.log)
        assert "not a name!" not in site.log
        assert "[+] provider first" in site.report()

        site.write(provider="second", jwks=jwks(2))
        until(lambda: "[+] provider second" in site.report())
        assert "provider first" not in site.report()
        assert site.log.count("listening") == 2
        assert site.tokens() == 1

        process.signal(signal.SIGTERM)
        until(lambda: process.returncode == 0)
        assert site.tokens() == 0
        assert not folder.exists()
    assert CANARY not in site.log
    assert not re.search(r"\bs\.\w{20}", site.log)  # a token of OpenBao


def test_a_stop_during_a_renewal_is_one(site: Site) -> None:
    """Who wants it to end does not get a new one."""
    site.file.write_text(site.file.read_text().replace("drainDelay: 100ms", "drainDelay: 3s"))
    with site.process as process:
        site.write(provider="second", jwks=jwks(1))
        until(lambda: "draining" in site.log)
        process.signal(signal.SIGTERM)
        until(lambda: process.returncode is not None, within=10)
        assert process.returncode == 0
        assert site.log.count("listening") == 1


@pytest.mark.timeout(240)
def test_workers_are_renewed_in_turn(bao: OpenBao, tmp_path: Path) -> None:
    """Each has its own token and its own secrets, and at no time are both away."""
    site = Site(bao, tmp_path, workers=2)
    with site.process:
        until(lambda: site.report().count("[+] provider first") == 2)
        assert site.tokens() == 3
        site.write(provider="second", jwks=jwks(1))
        until(lambda: "all workers were started anew" in site.log, within=60)
        until(lambda: site.report().count("[+] provider second") == 2)
        site.process.signal(signal.SIGTERM)
        until(lambda: site.process.returncode is not None)
    assert site.tokens() == 0
    assert CANARY not in site.log


def test_validate_reads_what_is_referred_to(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """And gives it back. What is wrong there is told without the value."""
    before = secret_folders()
    assert main(["validate", "--config", str(site.file)]) == 0
    assert "1 provider" in capsys.readouterr().out
    assert (site.tokens(), secret_folders()) == (0, before)
    site.write(provider="not a name!", jwks=jwks(1))
    assert main(["validate", "--config", str(site.file)]) == 1
    out = capsys.readouterr().out
    assert "extauthz.yaml:13:9: providers[0].name: what Vault holds for it can't be used here" in out
    assert "not a name!" not in out
    assert (site.tokens(), secret_folders()) == (0, before)


@pytest.mark.parametrize("command", ["validate", "serve"])
def test_without_vault(site: Site, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told at the place of the first reference, and for all of them once."""
    site.file.write_text(site.file.read_text().replace(site.bao.url, "http://127.0.0.1:1"))
    assert main([command, "--config", str(site.file)]) == (1 if command == "validate" else 2)
    captured = capsys.readouterr()
    text = captured.out + captured.err
    told = "extauthz.yaml:13:9: can't be read from Vault: http://127.0.0.1:1: can't be reached: Connection refused (and 1 more)"
    assert told in text.replace(f"{site.folder}/", "")


def test_without_the_library(site: Site) -> None:
    """It says what to install; whoever has no Vault needs none of it."""
    code = "import sys; sys.modules['hvac'] = None; from extauthz.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=site.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    assert 'pip install "extauthz[vault]"' in run("validate")
    site.file.write_text("policies: {files: [policies]}")
    assert "0 providers" in run("validate")


def test_who_has_no_vault_never_imports_the_library() -> None:
    """It costs a quarter of a second."""
    code = "import sys, extauthz.app; print('hvac' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["False", "False"]
