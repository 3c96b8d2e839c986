"""One connection to a directory: dialled, secured, and then one question at a time.

sansldap writes and reads the messages; the bytes, TLS and time are ours. So nothing blocks the event loop, a caller that
is cancelled leaves at once, and the certificate is checked by the same library as everywhere else in the server.

- StartTLS (RFC 4511 section 4.14) is spoken on the bare socket, byte by byte of the answer and not one more, so that what
  an attacker puts behind the answer in plain text is read as a part of the TLS handshake, and fails it.
- A message is at most 1 MiB, an answer to a search at most as many entries as were asked for. Referrals are not followed:
  they would send passwords to wherever the directory points.
- After anything unexpected the connection is of no use: the caller throws it away.

Texts of errors name the host and the fault. What a directory says in its diagnostics is never repeated: it may quote.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import sansldap

from extauthz.errors import UpstreamError

__all__ = ["Answer", "Connection", "ConnectionLostError", "Found", "Server", "dial"]

MAX_MESSAGE = 1 << 20
_SHUTDOWN_TIMEOUT = 1.0
"""Seconds that the other side has for its half of TLS's goodbye."""
_CONSTRUCTED_SEQUENCE = 0x30
_LONG_FORM = 0x80
_MAX_LENGTH_OCTETS = 4

Code = sansldap.LDAPResultCode


class ConnectionLostError(UpstreamError):
    """The connection ended. On one that has been idle it says nothing about the directory."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a directory is."""

    host: str
    port: int
    tls: bool
    """From the first byte on (``ldaps://``)."""
    start_tls: bool

    def __str__(self) -> str:
        """What errors call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Found:
    """One entry."""

    dn: str
    attributes: tuple[tuple[str, tuple[bytes, ...]], ...]

    def values(self, name: str) -> tuple[str, ...]:
        """The values of an attribute; names are compared without regard to case (RFC 4512 section 2.5).

        Raises:
            UnicodeDecodeError: A value is not text.
        """
        return tuple(
            value.decode() for written, values in self.attributes if written.lower() == name.lower() for value in values
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search brought."""

    code: sansldap.LDAPResultCode
    entries: tuple[Found, ...]


class Connection:
    """A connection that is open. One question at a time; the pool sees to that."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over the streams."""
        self._server = server
        self._reader = reader
        self._writer = writer
        self._session = sansldap.LDAPClient()

    @property
    def ended(self) -> bool:
        """Whether the other side is known to have closed it."""
        return self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing()

    async def bind(self, dn: str, password: str) -> sansldap.LDAPResultCode:
        """Say who we are from now on (RFC 4511 section 4.2). Anything but SUCCESS leaves the connection anonymous.

        Raises:
            ConnectionLostError, UpstreamError: There is no answer that could be understood.
            ValueError: A name without a password: directories take that for success and authenticate nobody (RFC 4513
                section 5.1.2).
        """
        if not dn or not password or "\0" in password:
            fault = "a bind needs a name and a password"
            raise ValueError(fault)
        message = await self._ask(self._session.bind_simple(dn, password), lambda _: True)
        if not isinstance(message, sansldap.BindResponse):
            raise self._nonsense()
        return message.result.result_code

    async def search(
        self,
        base: str,
        scope: sansldap.SearchScope,
        filter_: sansldap.LDAPFilter,
        attributes: Sequence[str],
        *,
        limit: int,
        seconds: int,
    ) -> Answer:
        """The entries that a filter fits, at most ``limit``; the directory may work on it for some seconds.

        Raises:
            ConnectionLostError, UpstreamError: There is no answer that could be understood.
        """
        number = self._session.search_request(
            base, scope, size_limit=limit, time_limit=seconds, filter=filter_, attributes=list(attributes)
        )
        entries: list[Found] = []

        def take(message: sansldap.LDAPMessage) -> bool:
            if isinstance(message, sansldap.SearchResultEntry):
                parts = tuple((part.name, tuple(part.values)) for part in message.attributes)
                entries.append(Found(message.object_name, parts))
                # One more than was asked for is too many; a thousand more would be memory.
                return len(entries) > limit
            return not isinstance(message, sansldap.SearchResultReference)

        message = await self._ask(number, take)
        if isinstance(message, sansldap.SearchResultEntry):
            self.abort()
            return Answer(Code.SIZE_LIMIT_EXCEEDED, tuple(entries[:limit]))
        if not isinstance(message, sansldap.SearchResultDone):
            raise self._nonsense()
        return Answer(message.result.result_code, tuple(entries))

    def close(self) -> None:
        """Say goodbye and close, without waiting."""
        with contextlib.suppress(sansldap.LDAPError):
            self._session.unbind()
            self._writer.write(self._session.data_to_send())
        self._writer.close()

    async def closed(self) -> None:
        """Return when the other side has heard it, or has had its time to."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()

    async def _ask(self, number: int, ends: Callable[[sansldap.LDAPMessage], bool]) -> sansldap.LDAPMessage:
        """Send what the session has to say, and read up to the message that ends it."""
        try:
            self._writer.write(self._session.data_to_send())
            await self._writer.drain()
            while True:
                [message] = self._session.receive(await _frame(self._reader.readexactly))
                if message.message_id != number:
                    raise self._nonsense()
                if ends(message):
                    return message
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ConnectionLostError(f"{self._server}: the connection broke") from error
        except sansldap.ProtocolError as error:
            if isinstance(error.request, sansldap.ExtendedResponse):
                raise ConnectionLostError(f"{self._server}: it ended the connection") from None
            raise self._nonsense() from None
        except (ValueError, IndexError, KeyError) as error:
            # What the library makes of bytes that are no message, and of more or fewer than one in a frame.
            raise self._nonsense() from error

    def _nonsense(self) -> UpstreamError:
        return UpstreamError(f"{self._server}: it does not answer as a directory does")


async def dial(server: Server, context: ssl.SSLContext | None, timeout: float) -> Connection:  # noqa: ASYNC109
    """A new connection; ``context`` None: without TLS. ``timeout`` is what the caller has left, in seconds.

    Raises:
        UpstreamError: It can't be made, or the certificate is not the one of this server.
    """
    sock = await _connected(server, timeout)
    if server.start_tls:
        try:
            await _start_tls(server, sock)
        except BaseException:
            sock.close()
            raise
    try:
        # From here on the socket is asyncio's, which closes it whatever happens.
        if context is None:
            reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_MESSAGE)
        else:
            reader, writer = await asyncio.open_connection(
                sock=sock,
                limit=MAX_MESSAGE,
                ssl=context,
                server_hostname=server.host,
                ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT,
            )
    except ssl.SSLCertVerificationError as error:
        raise UpstreamError(f"{server}: its certificate is not trusted: {error.verify_message}") from error
    except OSError as error:
        raise UpstreamError(f"{server}: TLS can't be agreed on") from error
    return Connection(server, reader, writer)


async def _connected(server: Server, timeout: float) -> socket.socket:  # noqa: ASYNC109
    """A TCP connection to the first address of the server that takes one; a dead one leaves time for the next."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UpstreamError(f"{server}: the name can't be resolved") from error
    fault: Exception | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(timeout / len(found)):
                await loop.sock_connect(sock, address)
        except (OSError, TimeoutError) as error:
            fault = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise UpstreamError(f"{server}: can't connect") from fault


async def _start_tls(server: Server, sock: socket.socket) -> None:
    """Agree to begin with TLS. Reads the answer and not a byte behind it."""
    loop = asyncio.get_running_loop()
    session = sansldap.LDAPClient()
    session.extended_request(sansldap.ExtendedOperations.LDAP_START_TLS.value)

    async def read(size: int) -> bytes:
        got = b""
        while len(got) < size:
            part = await loop.sock_recv(sock, size - len(got))
            if not part:
                raise asyncio.IncompleteReadError(got, size)
            got += part
        return got

    try:
        await loop.sock_sendall(sock, session.data_to_send())
        [message] = session.receive(await _frame(read))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise UpstreamError(f"{server}: the connection broke") from error
    except (ValueError, IndexError, KeyError, sansldap.LDAPError) as error:
        raise UpstreamError(f"{server}: it does not answer as a directory does") from error
    if not isinstance(message, sansldap.ExtendedResponse) or message.result.result_code != Code.SUCCESS:
        raise UpstreamError(f"{server}: it refuses StartTLS")


async def _frame(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """One message, whole: LDAP messages are BER with definite lengths (RFC 4511 section 5.1). Raises ValueError."""
    head = await read(2)
    length = head[1]
    if length & _LONG_FORM:
        octets = length & ~_LONG_FORM
        if not 1 <= octets <= _MAX_LENGTH_OCTETS:
            fault = "a length of a form that LDAP does not have"
            raise ValueError(fault)
        more = await read(octets)
        head += more
        length = int.from_bytes(more)
    if head[0] != _CONSTRUCTED_SEQUENCE or length > MAX_MESSAGE:
        fault = "not an LDAP message, or one that is too large"
        raise ValueError(fault)
    return head + await read(length)
