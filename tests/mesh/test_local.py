"""The whole mesh, as `make demo` and `make up` start it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mesh.proxy import PROJECT

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(240)]


def start(*arguments: str, envoy: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "EXTAUTHZ_ENVOY": str(envoy), "PYTHONUNBUFFERED": "1"}
    environment.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
    return subprocess.Popen(
        [sys.executable, "-m", "mesh", *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_answers_as_it_says(tmp_path: Path, envoy: Path) -> None:
    """Every request, every reason, every proof, and one trace through three services."""
    with start("demo", "--state", str(tmp_path), envoy=envoy) as demo:
        output, _ = demo.communicate(timeout=200)
    assert demo.returncode == 0, output
    assert "BUT" not in output
    assert "one trace" in output


def test_the_mesh_stays_up_until_it_is_told_to_stop(tmp_path: Path, envoy: Path) -> None:
    """It answers while it runs, leaves nothing behind, and ends with 0."""
    with start("up", "--state", str(tmp_path), envoy=envoy) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "Ctrl-C stops it" in line:
                break
        listen = json.loads((tmp_path / "envoy.json").read_text())["static_resources"]["listeners"][0]["address"]
        url = f"http://127.0.0.1:{listen['socket_address']['port_value']}"
        with urllib.request.urlopen(f"{url}/public/news", timeout=5) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/orders/42", timeout=5)
        assert refused.value.code == 401
        refused.value.close()
        up.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert up.wait(timeout=30) == 0
        assert time.monotonic() - began < 10
        stopped = [line.strip() for line in up.stdout if " stopped" in line]
    assert stopped == ["envoy stopped", "extauthz stopped", "upstreams stopped"]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/public/news", timeout=5)
