"""Both upstreams in one process: `python -m mesh.upstreams --http 127.0.0.1:8000 --grpc 127.0.0.1:8001`.

Model: one event loop serves HTTP through uvicorn and gRPC beside it. With OTEL_EXPORTER_OTLP_ENDPOINT set, the HTTP
echo exports its own span of each sampled request, so a trace has three services in it; without, nothing is exported.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal

import uvicorn
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mesh.address import parse_address
from mesh.upstreams import grpc_echo
from mesh.upstreams.http_echo import application


def export_traces() -> TracerProvider | None:
    """Installs the exporter that the environment asks for, if it does."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": "echo"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


async def serve(http: str, grpc: str) -> None:
    """Serves both until SIGTERM or SIGINT, which uvicorn handles."""
    where = parse_address(http)
    rpc = await grpc_echo.start(grpc)
    config = uvicorn.Config(
        application(), host=where.host, port=where.port, log_level="warning", ws="websockets-sansio"
    )
    # uvicorn raises the signal that ended it once more; what is left to do comes after that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    await uvicorn.Server(config).serve()
    await rpc.stop(grace=1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mesh.upstreams", description="The echo services of the mesh.")
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    arguments = parser.parse_args()
    provider = export_traces()
    asyncio.run(serve(arguments.http, arguments.grpc))
    if provider is not None:
        provider.shutdown()


if __name__ == "__main__":
    main()
