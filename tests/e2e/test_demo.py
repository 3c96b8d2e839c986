"""The main job as a newcomer meets it: ``make demo`` runs this command."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]


def test_the_demo_answers_every_request_as_expected() -> None:
    """A real Envoy, issuer and services; exit code 0, a line for each request and the proof of one trace."""
    run = subprocess.run(
        [sys.executable, "-m", "mesh", "demo"], cwd=PROJECT, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "requests answered as expected" in run.stdout
    assert "one trace" in run.stdout
