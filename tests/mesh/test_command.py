"""`python -m mesh` tells what keeps it from starting in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from mesh.proxy import PROJECT


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mesh", *arguments],
        cwd=PROJECT,
        env={"PATH": "", "TMPDIR": environment.pop("TMPDIR"), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ((), {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector"}, "http://host:port"),
        ((), {"EXTAUTHZ_ENVOY": "/no/envoy"}, "no Envoy binary"),
        (("--state", "/dev/null/state"), {}, "/dev/null/state"),
    ],
)
def test_a_mesh_that_can_not_start(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    """Exit code 2, one line, and nothing left behind."""
    found = run("up", *arguments, TMPDIR=str(tmp_path), **environment)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("the mesh can't start: ")
    assert words in found.stderr
    assert found.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
