"""Agents and the token service of a real server: every grant, a restart of the server, and a session that is revoked."""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from extauthz.cli import main
from tests.agent.conftest import StartAgent, content, until
from tests.conftest import PROJECT
from tests.owned_server import free_port


class Server:
    """`extauthz serve` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http, self.admin, self.check = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "extauthz.yaml").write_text(f"""
listen:
  http: {{address: "127.0.0.1:{self.http}"}}
  admin: {{address: "127.0.0.1:{self.admin}"}}
  check: {{address: "127.0.0.1:{self.check}"}}
check: {{drainDelay: 0s}}
store: {{url: "sqlite:state.db"}}
tokens:
  issuer: {self.url}
  audiences: [orders]
  audit: {{file: audit.log, keyFile: audit.key}}
providers:
- name: own
  jwt: {{issuer: "{self.url}", audiences: [orders]}}
  roles: {{claims: [roles], mayGrant: [billing]}}
""")

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "extauthz", "serve", "--config", str(self.folder / "extauthz.yaml")]
            self.process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, env=_environ())
        until(self._ready, timeout=40)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def granted(self, secret: str) -> dict[str, str]:
        """An answer of the token endpoint, for the first tokens of a session."""
        pair = base64.b64encode(f"billing:{secret}".encode()).decode()
        asked = urllib.request.Request(
            f"{self.url}/oauth2/token",
            data=b"grant_type=client_credentials",
            headers={"authorization": f"Basic {pair}"},
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            told: dict[str, str] = json.load(answer)
            return told

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def command(self, *words: str) -> int:
        return main([*words, "--config", str(self.folder / "extauthz.yaml")])


def _another(file: Path, before: str) -> bool:
    return content(file) not in ("", before)


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("EXTAUTHZ_")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.stop(signal.SIGKILL)


def test_an_agent_and_a_real_service(
    server: Server, start: StartAgent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A registered client's tokens are kept fresh through a restart of the server, renewed and refreshed; each is one that
    a Check would accept, and the audit log that both wrote to is whole.
    """
    capsys.readouterr()
    words = ["--role", "billing", "--renew", "--refresh", "--lifetime", "3s"]
    assert server.command("token", "client", "add", "billing", *words) == 0
    (tmp_path / "secret").write_text(capsys.readouterr().out)
    proof = ["--client-id", "billing", "--client-secret-file", str(tmp_path / "secret")]
    common = ["--service", server.url, "--allow-http", "--admin", "none"]
    file = tmp_path / "token"
    agent = start(*common, *proof, "--token-file", str(file), bare=True)
    first = until(lambda: content(file))
    assert server.command("token", "verify", str(file)) == 0
    until(lambda: content(file) not in ("", first))
    server.stop(signal.SIGKILL)
    until(lambda: not file.exists())
    server.start()
    until(lambda: content(file))
    assert server.command("token", "verify", str(file)) == 0
    assert agent.stop() == 0
    (tmp_path / "first.token").write_text(until(lambda: content(file)))

    renewed = tmp_path / "renewed.token"
    told = server.granted((tmp_path / "secret").read_text().strip())
    (tmp_path / "first.token").write_text(told["access_token"])
    (tmp_path / "refresh.token").write_text(told["refresh_token"])
    refreshed = tmp_path / "refreshed.token"
    grants = [
        (renewed, ["--grant", "renew", "--bootstrap-token-file", str(tmp_path / "first.token")]),
        (refreshed, [*proof, "--grant", "refresh-token", "--refresh-token-file", str(tmp_path / "refresh.token")]),
    ]
    for kept, grant in grants:
        agent = start(*common, *grant, "--token-file", str(kept), bare=True)
        before = until(partial(content, kept))
        until(partial(_another, kept, before))
        assert server.command("token", "verify", str(kept)) == 0
        assert agent.stop() == 0
    assert content(tmp_path / "refresh.token") != told["refresh_token"]
    assert main(["audit", "verify", str(tmp_path / "audit.log"), "--key-file", str(tmp_path / "audit.key")]) == 0
