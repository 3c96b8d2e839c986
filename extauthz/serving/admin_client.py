"""Reads the admin listener of a running server, for tools beside it."""

import http.client
import socket

from extauthz.errors import UpstreamError
from extauthz.serving.listener import Address, UnixAddress

__all__ = ["ask_admin"]

_LIMIT = 64 * 1024 * 1024
"""Bytes of an answer: 10,000 policies in shadow mode make a few megabytes."""


def ask_admin(address: Address, path: str, *, timeout: float) -> tuple[int, bytes]:
    """The status and the body of a GET, in plaintext; ``timeout`` is in seconds.

    Raises:
        UpstreamError: Nobody answered, or not in HTTP.

    """
    connection: http.client.HTTPConnection
    if isinstance(address, UnixAddress):
        connection = _UnixConnection(address.path, timeout)
    else:
        connection = http.client.HTTPConnection(str(address.host), address.port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise UpstreamError(f"the admin listener {address} does not answer: {why}") from None
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("admin", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
