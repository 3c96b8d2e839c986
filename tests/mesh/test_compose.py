"""The compose file: valid for its tools, and hardened in every service."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.proxy import PROJECT
from tests.mesh.conftest import tool_path

COMPOSE = PROJECT / "docker-compose.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, Any] = DOCUMENT["services"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def test_it_follows_the_compose_schema() -> None:
    checker = tool_path("check-jsonschema")
    if checker is None:
        pytest.skip("check-jsonschema is not installed")
    checked = run(checker, "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert checked.returncode == 0, checked.stdout


@pytest.mark.system("docker-compose")
def test_a_compose_client_reads_it() -> None:
    """`config` resolves anchors, variables and paths."""
    client = shutil.which("docker-compose")
    assert client is not None
    checked = run(client, "-f", str(COMPOSE), "config")
    assert checked.returncode == 0, checked.stderr
    assert set(yaml.safe_load(checked.stdout)["services"]) == set(SERVICES)


def test_it_has_no_name_of_its_own() -> None:
    """The project is called as its folder or as the caller says."""
    assert "name" not in DOCUMENT


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert service.get("user") != "root"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "image" in service])
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition("@")[0].rpartition(":")[2]
    assert any(character.isdigit() for character in tag)
    assert tag != "latest"


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, mode = volume.split(":")
        if source in DOCUMENT["volumes"]:
            continue
        assert (PROJECT / source).exists()
        assert mode == "ro"


@pytest.mark.parametrize("name", SERVICES)
def test_health_is_waited_for_only_where_it_is_checked(name: str) -> None:
    """A condition on a service without a health check would wait for ever."""
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed] or SERVICES[needed]["build"]["target"] == "server"


@pytest.mark.envoy
def test_a_real_envoy_accepts_the_file_that_is_mounted(envoy: Path) -> None:
    checked = run(str(envoy), "--mode", "validate", "-c", "mesh/rendered/envoy-compose.yaml", "--log-level", "warning")
    assert checked.returncode == 0, checked.stderr
