"""`python -m mesh render`: every committed file that is made from this code, and the check that they are equal.

Model: one table of path and text. Writing stores them, checking compares them; CI and a test do the latter, so that
what people read, what compose mounts and what the wheel ships cannot drift from the code that is tested.

Trade-off: rendered files are committed although they could be made on demand, because a reader of the repository and a
user of compose should see them without running anything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from mesh.authz import AuthzSettings, TokenSettings, render_config
from mesh.envoy import bootstrap_document
from mesh.observability.dashboard import dashboard
from mesh.options import EnvoyOptions, Tracing
from mesh.proxy import PROJECT
from mesh.templates import templates, yaml_text

COMPOSE_ENVOY = EnvoyOptions(
    listen="0.0.0.0:10000",
    authz=("extauthz:9000",),
    upstream="upstreams:8000",
    grpc_upstream="upstreams:8001",
    tracing=Tracing("otel-collector:4317", sampling_percent=100.0),
)
COMPOSE_AUTHZ = AuthzSettings(
    check="0.0.0.0:9000",
    admin="0.0.0.0:8081",
    # Clients reach it by the port that is published on loopback. What extauthz itself verifies, it verifies in its process.
    tokens=TokenSettings(
        http="0.0.0.0:8080",
        issuer="http://127.0.0.1:8080",
        secrets="/run/extauthz",
        keys="transit: {}",
        audit="/var/lib/extauthz",
        vault="""
# OpenBao has the signing keys. In a network that others can reach take https:// and caFile.
vault:
  address: "http://openbao:8200"
  plaintext: true
  auth:
    appRole: {roleIdFile: /run/extauthz/role-id, secretIdFile: /run/extauthz/secret-id}
""",
    ),
    issuer="http://issuer:8089",
    partner_keys="jwksUri: http://issuer:8089/partner/jwks",
    partner_fetch="  fetch: {allowHttp: true, allowPrivateAddresses: true}\n",
    policies="/etc/extauthz/policies/",
    store="redis://valkey:6379/0",
    plaintext=True,
)
MADE = "# Made by `python -m mesh render`; a test proves that it is current. Change the code, not this file.\n"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One committed file and what it has to contain."""

    path: Path
    text: str

    @property
    def is_current(self) -> bool:
        return self.path.exists() and self.path.read_text() == self.text


def rendered() -> list[Rendered]:
    """All files that are made from this code."""
    files = [
        Rendered(PROJECT / "mesh/rendered/envoy-compose.yaml", MADE + yaml_text(bootstrap_document(COMPOSE_ENVOY))),
        Rendered(PROJECT / "mesh/rendered/extauthz-compose.yaml", MADE + render_config(COMPOSE_AUTHZ)),
        Rendered(PROJECT / "mesh/observability/dashboard.json", dashboard()),
    ]
    for kind, text in templates().items():
        files.append(Rendered(PROJECT / "extauthz/envoy_config" / f"{kind}.yaml", text))
    return files


def write() -> int:
    """Writes what is not current; returns the exit code."""
    for file in rendered():
        if not file.is_current:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(file.text)
            print(f"written: {file.path.relative_to(PROJECT)}")
    return 0


def check() -> int:
    """Names what is not current; exit code 1 if there is any."""
    stale = [file for file in rendered() if not file.is_current]
    for file in stale:
        print(f"not current: {file.path.relative_to(PROJECT)} (run `python -m mesh render`)", file=sys.stderr)
    return 1 if stale else 0
