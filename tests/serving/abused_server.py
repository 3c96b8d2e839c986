"""A server in a process of its own, of which the tests of abuse can tell the CPU and the memory."""

import asyncio
import sys
from typing import Any

from extauthz.serving.grpc_server import GrpcOptions
from extauthz.serving.health import Health
from extauthz.serving.listener import Listener, parse_address
from extauthz.serving.transports import check_server


async def main(transport: Any) -> None:
    """Serve on a free port, and say which, until killed."""
    listener = Listener(parse_address("127.0.0.1:0"))
    server = check_server(transport, listener, lambda message, call: b"ok", b"no", Health(), options=GrpcOptions())
    address = server.bind("listen.check")
    await server.start()
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
