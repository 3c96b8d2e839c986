"""The whole mesh as local processes: Envoy, extauthz, two upstreams, an employees' issuer and a trace collector.

Model: `with LocalMesh(state) as mesh:` starts what depends on nothing first and Envoy last, each with a readiness
probe, and stops in the reverse order, so that nothing is sent to a server that is gone. The issuer and the collector
are threads of the calling process: `mesh.issuer.mint()` makes tokens and `mesh.collector.spans()` shows traces without
another hop. Tokens of the mesh itself are issued by extauthz, and `mesh.desk` asks it for them. Everything written (configurations, logs, decisions) is in the state folder.

Traces go to OTEL_EXPORTER_OTLP_ENDPOINT if that is set, else to the mesh's own collector.

Trade-off: the usual ports are taken where they are free (`usual_ports`), otherwise the kernel chooses. Nothing may
depend on a port number; whoever needs one asks this object.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from mesh.address import LOOPBACK, AddressError, free_addresses
from mesh.authz import AuthzProcess, AuthzSettings, TokenSettings
from mesh.collector import Collector
from mesh.issuer import Issuer
from mesh.options import EnvoyOptions, Tracing
from mesh.processes import Process, Supervisor, accepts, silent
from mesh.proxy import PROJECT, EnvoyProcess

USUAL = {
    "envoy": 10000,
    "envoy-admin": 9901,
    "check": 9000,
    "http": 8080,
    "admin": 8081,
    "issuer": 8089,
    "upstream": 8000,
    "grpc-upstream": 8001,
    "collector": 4317,
}


def collector_address(endpoint: str) -> str:
    """`host:port` of an OTLP endpoint URL; raises AddressError for TLS, which the mesh does not export with."""
    url = urlsplit(endpoint if "//" in endpoint else f"http://{endpoint}")
    if url.scheme != "http" or not url.hostname:
        raise AddressError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint!r}, but the mesh exports to http://host:port only"
        )
    return f"{url.hostname}:{url.port or 4317}"


class LocalMesh:
    """A running mesh; a context manager to be entered in the main thread."""

    def __init__(
        self,
        state: Path,
        *,
        usual_ports: bool = False,
        own_collector: bool = False,
        report: Callable[[str], None] = silent,
    ) -> None:
        self.state = state.resolve()
        self.state.mkdir(parents=True, exist_ok=True)
        self.report = report
        self._supervisor = Supervisor(report)
        ports = [port if usual_ports else 0 for port in USUAL.values()]
        at = dict(zip(USUAL, free_addresses(*ports), strict=True))
        self.addresses = at
        self.issuer = Issuer(at["issuer"])
        chosen = None if own_collector else os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        self.collector = None if chosen else Collector(at["collector"])
        endpoint = chosen or f"http://{at['collector']}"
        self.access_log = self.state / "access.log"
        self.decisions = self.state / "decisions.jsonl"
        for log in (self.access_log, self.decisions):
            log.unlink(missing_ok=True)
        # Short export delays: somebody is watching.
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        tokens = TokenSettings.local(at["http"], self.state)
        self.desk = tokens.desk
        partner_keys = self.state / "partner-jwks.json"
        partner_keys.write_text(json.dumps(self.issuer.partner_jwks(), indent=2) + "\n")
        self.authz = AuthzProcess(
            AuthzSettings(
                check=at["check"],
                admin=at["admin"],
                tokens=tokens,
                issuer=self.issuer.url,
                partner_keys=f'jwksFile: "{partner_keys}"',
                decisions=str(self.decisions),
            ),
            self.state,
            environment=environment,
        )
        self._upstreams = Process(
            "upstreams",
            [sys.executable, "-m", "mesh.upstreams", "--http", at["upstream"], "--grpc", at["grpc-upstream"]],
            log=self.state / "upstreams.log",
            ready=[accepts(at["upstream"]), accepts(at["grpc-upstream"])],
            environment=environment,
            directory=PROJECT,
        )
        self.envoy = EnvoyProcess(
            EnvoyOptions(
                listen=at["envoy"],
                admin=at["envoy-admin"],
                authz=(at["check"],),
                upstream=at["upstream"],
                grpc_upstream=at["grpc-upstream"],
                tracing=Tracing(collector_address(endpoint), sampling_percent=100.0, prompt=True),
                access_log=str(self.access_log),
            ),
            self.state,
        )

    @property
    def url(self) -> str:
        """Envoy, where clients send their requests."""
        return self.envoy.url

    @property
    def port(self) -> int:
        """Envoy's port on loopback."""
        return int(self.envoy.options.listen.removeprefix(f"{LOOPBACK}:"))

    def ended(self) -> Process | None:
        """The first process that ended without being asked to."""
        return self._supervisor.ended()

    def __enter__(self) -> Self:
        try:
            if self.collector:
                self.collector.start()
                self.report(f"collector receives OTLP on {self.collector.listen}")
            self.issuer.start()
            self.report(f"issuer serves {self.issuer.url}")
            self._supervisor.start(self._upstreams, self.authz)
            self._supervisor.start(self.envoy)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stops everything; may be called twice."""
        self._supervisor.stop()
        self.issuer.stop()
        if self.collector:
            self.collector.stop()

    def __exit__(self, *_: object) -> None:
        self.stop()
