"""The gRPC upstream: `demo.echo.v1.Echo` with two unary methods, and the standard health service.

Model: `Say` and `Reset` answer with the message they got, and return the subject they were told about in the trailing
metadata. Messages are `google.protobuf.StringValue`, so there is no proto of our own to generate and any gRPC client
can call it.

Trade-off: generic handlers instead of generated stubs. For two methods of an example that is less to read.
"""

from __future__ import annotations

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "demo.echo.v1.Echo"


async def _say(request: StringValue, context: grpc.aio.ServicerContext[StringValue, StringValue]) -> StringValue:
    received = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    context.set_trailing_metadata((("x-subject", received.get("x-auth-subject", "stranger")),))
    return StringValue(value=request.value)


async def start(listen: str) -> grpc.aio.Server:
    """Starts the server and announces the process and the service as SERVING."""
    method = grpc.unary_unary_rpc_method_handler(
        _say, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
    )
    server = grpc.aio.server()
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Say": method, "Reset": method})
    server.add_generic_rpc_handlers((handlers,))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(listen)
    await server.start()
    await checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    return server
