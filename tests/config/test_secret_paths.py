"""The settings that name files with secrets: all of them, and none that is public."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extauthz.config import load_config, secret_paths
from extauthz.config.schema import config_schema
from extauthz.config.secret_paths import _SECRET

PUBLIC = {"caFile", "certFile", "clientCaFile", "jwksFile", "roleIdFile", "usernameFile"}
"""Certificates, public keys, names."""


def test_every_file_of_the_configuration_is_one_or_the_other() -> None:
    """A new one has to be thought about."""
    names = {name for name in _names(config_schema()) if name.endswith(("File", "Files"))}
    assert names == _SECRET | PUBLIC


def _names(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _names(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _names(inner)


def test_each_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a person would write it; what is not written is not there."""
    monkeypatch.chdir(tmp_path)
    Path("extauthz.yaml").write_text("""
store: {url: "redis://127.0.0.1", passwordFile: redis.password}
providers:
- name: corporate
  jwt: {issuer: "https://login.example.com/", audiences: [orders], secretFile: jwt.secret}
tokens:
  issuer: https://auth.example.com
  audiences: [orders]
  keys: {mounted: {current: a.pem, next: b.pem}}
  clients:
  - {id: one, secretFile: one.secret}
  - {id: two, secretFiles: [two.secret, /etc/two.secret]}
  - {id: three, jwksFile: three.json}
""")
    assert secret_paths(load_config("extauthz.yaml", {})) == [
        ("providers[0].jwt.secretFile", "jwt.secret"),
        ("store.passwordFile", "redis.password"),
        ("tokens.keys.mounted.current", "a.pem"),
        ("tokens.keys.mounted.next", "b.pem"),
        ("tokens.clients[0].secretFile", "one.secret"),
        ("tokens.clients[1].secretFiles[0]", "two.secret"),
        ("tokens.clients[1].secretFiles[1]", "/etc/two.secret"),
    ]
