"""A real Envoy, started as the other tests start it."""

import http.client
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.address import AddressError
from mesh.local import collector_address
from mesh.options import EnvoyOptions
from mesh.proxy import EnvoyProcess

pytestmark = pytest.mark.envoy


def ask(address: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("location")
    finally:
        connection.close()


def test_without_a_server_every_request_fails_closed(options: EnvoyOptions, tmp_path: Path, envoy: Path) -> None:
    """503, with the reason in the access log, and counted as an error."""
    with EnvoyProcess(options, tmp_path, binary=envoy) as process:
        assert ask(options.listen, "/orders?token=secret") == (503, None)
        assert process.stats("ingress.ext_authz")["http.ingress.ext_authz.error"] == 1
        assert not any(process.stats("failure_mode_allowed").values())
    entry = json.loads((tmp_path / "access.log").read_text())
    assert (entry["status"], entry["details"], entry["path"]) == (503, "ext_authz_error", "/orders")


def test_the_edge_refuses_what_parsers_disagree_about(options: EnvoyOptions, tmp_path: Path, envoy: Path) -> None:
    with EnvoyProcess(options, tmp_path, binary=envoy):
        assert ask(options.listen, "/orders", {"x_auth_subject": "root"}) == (400, None)
        assert ask(options.listen, "/public/..%2fadmin") == (307, "/admin")


def test_a_process_takes_its_time_to_be_ready_but_not_long(options: EnvoyOptions, tmp_path: Path, envoy: Path) -> None:
    """Tests start many of them."""
    began = time.monotonic()
    with EnvoyProcess(replace(options, authz_health=None), tmp_path, binary=envoy):
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("http://collector:4317", "collector:4317"),
        ("http://collector", "collector:4317"),
        ("127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_the_usual_variable_names_the_collector(endpoint: str, address: str) -> None:
    assert collector_address(endpoint) == address


def test_a_collector_behind_tls_is_refused() -> None:
    with pytest.raises(AddressError, match="http://host:port"):
        collector_address("https://collector:4317")
