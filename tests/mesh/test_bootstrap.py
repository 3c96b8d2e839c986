"""The bootstrap is hardened whatever the options, and a real Envoy accepts it."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from mesh.address import parse_address
from mesh.envoy import bootstrap_document
from mesh.options import ClientTls, EnvoyOptions, ExtraRoute, ServerTls, TcpListener, Tracing
from mesh.proxy import validate

VARIANTS: dict[str, EnvoyOptions] = {
    "default": EnvoyOptions(),
    "plain": EnvoyOptions(edge=False, raw_headers=False, authz_health=None, authz_retries=0),
    "unix socket": EnvoyOptions(authz=("unix:/run/extauthz.sock",)),
    "two servers by name": EnvoyOptions(authz=("one.example.com:9000", "two.example.com:9000")),
    "body": EnvoyOptions(body_bytes=8192),
    "grpc and traces": EnvoyOptions(
        grpc_upstream="127.0.0.1:8001", tracing=Tracing("collector:4317", 50.0, prompt=True)
    ),
    "tcp": EnvoyOptions(tcp=TcpListener("127.0.0.1:10001", "127.0.0.1:8002")),
    "routes": EnvoyOptions(
        context={"app": "all"},
        routes=(ExtraRoute("/healthz", unchecked=True), ExtraRoute("/orders", {"app": "orders"})),
    ),
    "slow": EnvoyOptions(authz_timeout=timedelta(seconds=2)),
}


def manager(document: dict[str, Any]) -> dict[str, Any]:
    """The connection manager of the HTTP listener."""
    found: dict[str, Any] = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return found


def accepted(document: dict[str, Any], folder: Path, envoy: Path) -> None:
    config = folder / "envoy.json"
    config.write_text(json.dumps(document))
    checked = validate(config, envoy)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.envoy
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_envoy_accepts(variant: str, tmp_path: Path, envoy: Path) -> None:
    """Every combination that the tests and the demo use."""
    accepted(bootstrap_document(VARIANTS[variant]), tmp_path, envoy)


@pytest.mark.envoy
def test_a_real_envoy_accepts_tls_on_both_sides(tmp_path: Path, envoy: Path) -> None:
    """Client certificates at the listener, mTLS to the authorization server."""
    authority = trustme.CA()
    certificate = authority.issue_cert("authz.internal")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    options = EnvoyOptions(
        tls=ServerTls(cert, key, ca),
        authz_tls=ClientTls(ca, "authz.internal", cert, key),
        tcp=TcpListener("127.0.0.1:10001", "127.0.0.1:8002"),
    )
    accepted(bootstrap_document(options), tmp_path, envoy)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_variant_opens_the_door(variant: str) -> None:
    """Never fail-open, always a checked catch-all, mutations validated and limited to the allowed names."""
    document = bootstrap_document(VARIANTS[variant])
    http = manager(document)
    first = http["http_filters"][0]["typed_config"]
    assert first["failure_mode_allow"] is False
    assert first["validate_mutations"] is True
    assert first["decoder_header_mutation_rules"]["disallow_all"] is True
    last = http["route_config"]["virtual_hosts"][0]["routes"][-1]
    assert last["match"] == {"prefix": "/"}
    assert "disabled" not in json.dumps(last)
    assert [upgrade["upgrade_type"] for upgrade in http["upgrade_configs"]] == ["websocket"]
    assert document["static_resources"]["clusters"][0]["common_lb_config"] == {
        "healthy_panic_threshold": {"value": 0.0}
    }


def test_a_plain_manager_cleans_nothing() -> None:
    """So that the server is tested alone with what clients send."""
    http = manager(bootstrap_document(EnvoyOptions(edge=False)))
    assert not {"normalize_path", "merge_slashes", "early_header_mutation_extensions", "use_remote_address"} & set(http)


def test_the_retry_fits_into_the_timeout() -> None:
    """Back-off takes a small part of the timeout, and no attempt is cut off before it (Envoy ends one at max_interval)."""
    options = EnvoyOptions()
    service = manager(bootstrap_document(options))["http_filters"][0]["typed_config"]["grpc_service"]
    policy = service["retry_policy"]
    base, longest = (
        float(policy["retry_back_off"][key].removesuffix("s")) for key in ("base_interval", "max_interval")
    )
    patience = options.authz_timeout.total_seconds()
    assert sum(base * (2**attempt - 1) for attempt in range(1, policy["num_retries"] + 1)) < patience / 2
    assert longest >= patience


def test_queries_are_not_logged() -> None:
    """They carry tokens."""
    log = json.dumps(
        manager(bootstrap_document(replace(EnvoyOptions(), access_log="/var/log/access.log")))["access_log"]
    )
    assert "%PATH(NQ)%" in log
    assert "REQ(:PATH)" not in log


@pytest.mark.parametrize("text", ["9000", "host:", ":1", "host:0", "host:65536", "host:x", "unix:run", "host:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|absolute path"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:9000", "name:80", "unix:/run/x.sock"])
def test_addresses_are_written_as_they_are_read(text: str) -> None:
    assert str(parse_address(text)) == text
