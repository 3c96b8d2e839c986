"""A client for one Check, for tools that ask a server themselves."""

from typing import Any

import grpc

from extauthz.errors import UpstreamError
from extauthz.serving.transport import CHECK_METHOD

__all__ = ["ask_once"]


async def ask_once(address: str, message: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109 - it is gRPC's own
    """The CheckResponse of a server at ``host:port`` or ``unix:/path`` in plaintext, as bytes.

    Raises:
        UpstreamError: Nobody answered within ``timeout`` seconds, or with an error of gRPC.

    """
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            ask: Any = channel.unary_unary(CHECK_METHOD)
            answer: bytes = await ask(message, timeout=timeout, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise UpstreamError(f"{address} did not answer a Check: {error.code().name}, {error.details()}") from None
    return answer
