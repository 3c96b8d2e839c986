"""Fixtures of the mesh's own tests."""

import shutil
import sys
from pathlib import Path

import pytest

from mesh.address import free_addresses
from mesh.options import EnvoyOptions


@pytest.fixture
def options(tmp_path: Path) -> EnvoyOptions:
    """An Envoy whose authorization server and upstream are not there."""
    listen, admin, authz, upstream = free_addresses(0, 0, 0, 0)
    return EnvoyOptions(
        listen=listen, admin=admin, authz=(authz,), upstream=upstream, access_log=str(tmp_path / "access.log")
    )


def tool_path(name: str) -> str | None:
    """A linter that came with the project's environment, or one of the system."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)
