"""The parent that a real Envoy names in B3 headers: its Zipkin tracer speaks nothing else."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest

from extauthz.serving.transport import Call
from extauthz.telemetry.parent import Parent, find_parent
from extauthz.telemetry.sampled import may_be_sampled
from extauthz.wire import decode
from mesh.address import free_address, free_addresses
from mesh.envoy.endpoints import COLLECTOR
from mesh.options import EnvoyOptions, Tracing
from mesh.proxy import EnvoyProcess
from tests.e2e.conftest import StartServer
from tests.journey import Journey, policies

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(60)]

ZIPKIN = {
    "name": "envoy.tracers.zipkin",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": COLLECTOR,
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
        "trace_id_128bit": True,
    },
}
ALLOW_ALL = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: all}
spec: {authentication: {optional: true}, rules: [{role: anonymous}]}
"""
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Zipkin(EnvoyProcess):
    """An Envoy with that tracer instead of OpenTelemetry's; nobody collects its spans."""

    def __init__(self, options: EnvoyOptions, directory: Path) -> None:
        super().__init__(options, directory)
        written = json.loads(self.config.read_text())
        [manager] = [
            found["typed_config"]
            for listener in written["static_resources"]["listeners"]
            for chain in listener["filter_chains"]
            for found in chain["filters"]
            if "tracing" in found["typed_config"]
        ]
        manager["tracing"]["provider"] = ZIPKIN
        self.config.write_text(json.dumps(written))


async def test_a_check_belongs_below_the_span_that_b3_names(
    start_server: StartServer, upstreams: tuple[str, str], tmp_path: Path
) -> None:
    """Sampled or not as the client's trace is, in Envoy's own span; what the client says itself is inside the Check."""
    seen: list[tuple[Parent | None, bool]] = []
    journey = Journey(policies(ALLOW_ALL))

    def handler(message: bytes, call: Call) -> bytes:
        http = decode(message).http
        assert http is not None
        seen.append((find_parent(call.metadata), may_be_sampled(call.metadata)))
        answer = journey.handler(message, call)
        assert isinstance(answer, bytes)
        return answer

    listen, admin = free_addresses(0, 0)
    async with start_server(handler) as authz:
        options = EnvoyOptions(
            listen=listen,
            admin=admin,
            authz=(authz,),
            upstream=upstreams[0],
            grpc_upstream=upstreams[1],
            tracing=Tracing(free_address(), sampling_percent=100.0),
        )
        envoy = Zipkin(options, tmp_path)
        await asyncio.to_thread(envoy.start)
        try:
            await asyncio.to_thread(envoy.wait_ready)
            async with httpx2.AsyncClient() as client:
                for sampled in ("1", "0"):
                    headers = {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": sampled}
                    assert (await client.get(f"{envoy.url}/orders", headers=headers)).status_code == 200
                assert (await client.get(f"{envoy.url}/orders")).status_code == 200
        finally:
            await asyncio.to_thread(envoy.stop)
    (one, may), (other, _), (own, _) = seen
    assert one is not None
    assert other is not None
    assert own is not None
    assert [f"{parent.trace_id:032x}" == TRACE for parent in (one, other, own)] == [True, True, False]
    assert [parent.sampled for parent in (one, other, own)] == [True, False, True]
    assert may
    assert f"{one.span_id:016x}" != SPAN
