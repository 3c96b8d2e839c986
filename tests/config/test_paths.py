from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.config import load_config


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration in a folder beside the working directory, as a relative path."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "extauthz.yaml").write_text(
        """
listen:
  check: {address: "unix:run/check.sock", socketMode: "0600"}
  admin: {address: "127.0.0.1:8081", tls: {certFile: tls.crt, keyFile: /etc/tls.key, clientCaFile: ../ca.pem}}
providers:
- {name: a, jwt: {issuer: a, audiences: [x], jwksFile: jwks.json}, fetch: {caFile: ca.pem}}
policies: {files: [policies/, ./more.yaml, /srv/policies]}
telemetry: {decisions: {sink: logs/decisions.jsonl}}
store: {url: "sqlite:state.db"}
""",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    return "deploy/extauthz.yaml"


def test_relative_to_the_file(deployed: str) -> None:
    """Paths in a file are relative to it; absolute ones stay."""
    config = load_config(deployed, {})
    assert config.policies.files == ("deploy/policies", "deploy/more.yaml", "/srv/policies")
    assert config.listen.check.address == "unix:deploy/run/check.sock"
    assert config.listen.check.socket_rights == 0o600
    assert config.listen.admin.tls
    assert config.listen.admin.tls.cert_file == "deploy/tls.crt"
    assert config.listen.admin.tls.key_file == "/etc/tls.key"
    assert config.listen.admin.tls.client_ca_file == "deploy/../ca.pem"
    assert config.providers[0].jwt
    assert config.providers[0].jwt.jwks_file == "deploy/jwks.json"
    assert config.providers[0].fetch.ca_file == "deploy/ca.pem"
    assert config.telemetry.decisions.sink == "deploy/logs/decisions.jsonl"
    assert config.store.file == "deploy/state.db"


def test_default_policies_are_relative_to_the_file(tmp_path: Path) -> None:
    """The default policy folder stands beside the file, as if it had been written there."""
    file = tmp_path / "extauthz.yaml"
    for text in ("", "policies: {group: a.example}"):
        file.write_text(text, "utf-8")
        assert load_config(str(file), {}).policies.files == (str(tmp_path / "policies"),)


def test_variables_are_relative_to_the_working_directory(deployed: str) -> None:
    """Paths in a variable are relative to the working directory, in lists as well."""
    config = load_config(
        deployed,
        {
            "EXTAUTHZ_POLICIES__FILES": '["mine/"]',
            "EXTAUTHZ_LISTEN__CHECK__ADDRESS": "unix:check.sock",
            "EXTAUTHZ_TELEMETRY__DECISIONS__SINK": "./decisions.jsonl",
            "EXTAUTHZ_PROVIDERS": '[{"name":"a","jwt":{"issuer":"a","audiences":["x"],"jwksFile":"mine.json"}}]',
        },
    )
    assert config.policies.files == ("mine/",)
    assert config.listen.check.address == "unix:check.sock"
    assert config.telemetry.decisions.sink == "./decisions.jsonl"
    assert config.providers[0].jwt
    assert config.providers[0].jwt.jwks_file == "mine.json"


def test_words_are_no_paths(load: Callable[..., Any]) -> None:
    """The words of the decision sink are not taken for files."""
    for word in ("none", "stdout", "otlp"):
        assert load(f"telemetry: {{decisions: {{sink: {word}}}}}").telemetry.decisions.sink == word


def test_mistyped_sink(problems: Callable[..., list[str]]) -> None:
    """A word that is not known is not taken for a file either."""
    assert problems("telemetry: {decisions: {sink: stdot}}") == [
        (
            "1:31: telemetry.decisions.sink: 'stdot' is neither none nor stdout nor otlp nor a path "
            "(for a file of that name write ./stdot)"
        )
    ]
