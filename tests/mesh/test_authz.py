"""The configuration and the policies of the demo are ones that extauthz takes."""

from pathlib import Path

import pytest

from extauthz.config import load_config
from extauthz.policy import PolicySettings, load
from extauthz.serving import read_policy_texts
from mesh.authz import POLICIES, AuthzSettings, TokenSettings, render_config
from mesh.render import COMPOSE_AUTHZ

LOCAL = AuthzSettings(
    check="127.0.0.1:9000",
    admin="127.0.0.1:8081",
    tokens=TokenSettings("127.0.0.1:8080", "http://127.0.0.1:8080", "secrets", 'folder: "keys"', "."),
    issuer="http://127.0.0.1:8089",
    partner_keys='jwksFile: "partner-jwks.json"',
)


@pytest.mark.parametrize("settings", [LOCAL, COMPOSE_AUTHZ], ids=["local", "compose"])
def test_the_configuration_is_accepted(settings: AuthzSettings, tmp_path: Path) -> None:
    """With three providers, and traces on."""
    path = tmp_path / "extauthz.yaml"
    path.write_text(render_config(settings))
    config = load_config(str(path), {})
    granted = {provider.name: set(provider.roles.may_grant or ()) for provider in config.providers}
    assert granted == {"own": {"admin", "user"}, "dev": {"admin", "user"}, "partner": {"partner"}}
    assert config.telemetry.traces.exporter == "otlp"


def test_the_policies_are_accepted() -> None:
    """All of them as one set, as the server loads them."""
    texts, problems = read_policy_texts([str(POLICIES)])
    assert problems == []
    snapshot = load(texts, PolicySettings(providers=frozenset({"own", "dev", "partner"})), 1)
    assert snapshot.generation == 1
    assert len(texts) == 5
