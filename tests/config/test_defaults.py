from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.config import load_config
from extauthz.errors import ConfigError


def test_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file everything has its default: loopback listeners, strict requests, no provider."""
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {})
    assert config.listen.check.address == "127.0.0.1:9000"
    assert config.listen.admin.address == "127.0.0.1:8081"
    assert not config.listen.check.plaintext
    assert not config.listen.check.reflection
    assert config.listen.check.socket_rights == 0o660
    assert (config.check.deadline, config.check.drain_delay, config.check.grace) == (0.15, 5.0, 10.0)
    assert config.check.max_message_bytes == 262144
    assert config.providers == ()
    assert config.client_address.trusted_hops == 0
    assert set(config.request.model_dump().values()) == {False, "refuse"}
    assert config.headers.allowed == ("x-auth-*", "authorization", "cookie")
    assert config.policies.files == ("policies",)
    assert config.policies.group == "security.example.com"
    assert not config.responses.reasons
    assert config.telemetry.traces.exporter is None
    assert config.telemetry.decisions.sink == "none"
    assert config.telemetry.logs.level == "info"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_empty_file(load: Callable[..., Any], text: str) -> None:
    """An empty file is the same as none."""
    assert load(text) == load("check: {grace: 10s}")


def test_default_policies_are_not_written(load: Callable[..., Any]) -> None:
    """Whether the policy folder was named or is the default can be told."""
    assert "files" not in load().policies.model_fields_set
    assert "files" in load("policies: {files: [policies]}").policies.model_fields_set


def test_smallest_provider(load: Callable[..., Any]) -> None:
    """A provider needs its name, issuer and audiences; the rest is strict."""
    [provider] = load("providers: [{name: a, jwt: {issuer: 'https://a.example/', audiences: [orders]}}]").providers
    assert provider.jwt
    assert provider.jwt.algorithms == ("RS256", "ES256", "EdDSA")
    assert provider.jwt.token_types == ("at+jwt", "jwt", "absent")
    assert provider.jwt.clock_skew == 60.0
    assert [(header.name, header.prefix) for header in provider.places.headers] == [("authorization", "Bearer ")]
    assert provider.roles.claims == (("roles",),)
    assert provider.roles.may_grant is None
    assert not provider.fetch.allow_http
    assert not provider.fetch.allow_private_addresses


def test_values_are_frozen(load: Callable[..., Any]) -> None:
    """A configuration can't be changed after it was checked."""
    with pytest.raises(ValueError, match="frozen"):
        load().check.deadline = 5.0


def test_named_file_must_exist(tmp_path: Path) -> None:
    """A file that was named and is not there is a problem, unlike the default one."""
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(str(tmp_path / "missing.yaml"), {})


def test_folder_as_file(tmp_path: Path) -> None:
    """What can't be read says so."""
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load_config(str(tmp_path), {})
