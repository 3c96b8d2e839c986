"""gRPC reflection, for those who look at the server with grpcurl. Off unless asked for.

The Check API lives in a descriptor pool of its own, apart from the default pool where health and reflection are; here
both are copied into one, because a reflection service looks into exactly one.
"""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from extauthz._pb.envoy.service.auth.v3 import external_auth_pb2
from extauthz.serving.health import HEALTH_SERVICE
from extauthz.serving.transport import CHECK_SERVICE

__all__ = ["add_reflection"]


def add_reflection(server: grpc.aio.Server) -> None:
    """Let clients of a server list and describe its services."""
    pool = _one_pool((external_auth_pb2, health_pb2, reflection_pb2))
    names = (CHECK_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool)


def _one_pool(modules: Iterable[Any]) -> DescriptorPool:
    """The files of generated modules, and all that they import, in one pool."""
    pool = DescriptorPool()
    known: set[str] = set()

    def add(file: Any) -> None:
        if file.name in known:
            return
        known.add(file.name)
        for needed in file.dependencies:
            add(needed)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        pool.Add(proto)

    for module in modules:
        add(module.DESCRIPTOR)
    return pool
