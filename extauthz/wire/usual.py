"""The CheckRequest as Envoy nearly always writes it, read from its bytes without message objects.

Making protobuf's objects and asking them field by field takes longer than all the rest of ``wire``; compiled, this takes a
third of it (uncompiled it would be slower, and is not used). It reads one form alone: the fields that ``decode`` reads, each
message at most once, headers as a map of distinct lower-case names, text that is ASCII. For all else, be it valid or not, it
gives None, and protobuf has the word. So it never decides whether a message is sound, and what it does read is what
protobuf reads: tests hold the two against each other, over messages that were changed at random.
"""

from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from extauthz._pb.envoy.config.core.v3.address_pb2 import Address, SocketAddress
from extauthz._pb.envoy.service.auth.v3.attribute_context_pb2 import AttributeContext as Attributes
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.model import EMPTY, AttributeContext, HttpAttributes, Peer
from extauthz.wire.tags import LENGTH_DELIMITED, VARINT, tag_of

__all__ = ["COMPILED", "read"]

COMPILED: Final = not __file__.endswith(".py")
"""Whether this is machine code, and so worth to be asked."""


def _byte(message: Any, field: str, kind: int = LENGTH_DELIMITED) -> int:
    """A tag that is one byte, as those of the first fifteen fields are."""
    (byte,) = tag_of(message, field, kind)
    return byte


_ATTRIBUTES: Final = _byte(CheckRequest, "attributes")
_SOURCE: Final = _byte(Attributes, "source")
_DESTINATION: Final = _byte(Attributes, "destination")
_REQUEST: Final = _byte(Attributes, "request")
_METADATA: Final = _byte(Attributes, "metadata_context")
_ROUTE_METADATA: Final = _byte(Attributes, "route_metadata_context")
_TLS_SESSION: Final = _byte(Attributes, "tls_session")
_SNI: Final = _byte(Attributes.TLSSession, "sni")
_ADDRESS: Final = _byte(Attributes.Peer, "address")
_PRINCIPAL: Final = _byte(Attributes.Peer, "principal")
_CERTIFICATE: Final = _byte(Attributes.Peer, "certificate")
_SOCKET_ADDRESS: Final = _byte(Address, "socket_address")
_IP: Final = _byte(SocketAddress, "address")
_PORT: Final = _byte(SocketAddress, "port_value", VARINT)
_TIME: Final = _byte(Attributes.Request, "time")
_HTTP: Final = _byte(Attributes.Request, "http")
_SECONDS: Final = _byte(Timestamp, "seconds", VARINT)
_NANOS: Final = _byte(Timestamp, "nanos", VARINT)
_ID: Final = _byte(Attributes.HttpRequest, "id")
_METHOD: Final = _byte(Attributes.HttpRequest, "method")
_HEADERS: Final = _byte(Attributes.HttpRequest, "headers")
_PATH: Final = _byte(Attributes.HttpRequest, "path")
_HOST: Final = _byte(Attributes.HttpRequest, "host")
_SCHEME: Final = _byte(Attributes.HttpRequest, "scheme")
_PROTOCOL: Final = _byte(Attributes.HttpRequest, "protocol")
_KEY: Final = 0x0A
_VALUE: Final = 0x12
"""Of an entry of any map: fields 1 and 2."""

_SEVEN_BITS: Final = 0x7F
_MAX_SHIFT: Final = 28
_LARGEST: Final = 0x7FFF_FFFF
_NOBODY: Final = Peer()


class _UnusualError(Exception):
    """The message has another form. Never leaves this module."""


def read(message: bytes) -> AttributeContext | None:
    """What a serialised CheckRequest says, if it has the usual form."""
    try:
        return _check(message)
    except (_UnusualError, IndexError):
        return None


def _check(data: bytes) -> AttributeContext:
    # One character for each byte: what is cut out of it is text at once.
    text = data.decode("latin-1")
    end = len(data)
    if data[0] != _ATTRIBUTES:
        raise _UnusualError
    at, stop = _content(data, 1, end)
    if stop != end:
        raise _UnusualError
    source: Peer | None = None
    destination: Peer | None = None
    request: tuple[float, HttpAttributes | None] | None = None
    sni: str | None = None
    while at < end:
        field = data[at]
        at, stop = _content(data, at + 1, end)
        if field == _SOURCE and source is None:
            source = _peer(data, text, at, stop)
        elif field == _DESTINATION and destination is None:
            destination = _peer(data, text, at, stop)
        elif field == _REQUEST and request is None:
            request = _request(data, text, at, stop)
        elif field == _TLS_SESSION and sni is None:
            sni = _only_text(data, text, _SNI, at, stop)
        elif field not in (_METADATA, _ROUTE_METADATA) or at != stop:
            raise _UnusualError
        at = stop
    time, http = (0.0, None) if request is None else request
    return AttributeContext(source or _NOBODY, destination or _NOBODY, time, http, sni or "", EMPTY, "")


def _peer(data: bytes, text: str, at: int, end: int) -> Peer:
    address: tuple[str, int] | None = None
    principal = certificate = ""
    while at < end:
        field = data[at]
        at, stop = _content(data, at + 1, end)
        if field == _ADDRESS and address is None:
            address = _socket_address(data, text, at, stop)
        elif field == _PRINCIPAL:
            principal = _text(text, at, stop)
        elif field == _CERTIFICATE:
            certificate = _text(text, at, stop)
        else:
            raise _UnusualError
        at = stop
    ip, port = ("", 0) if address is None else address
    return Peer(ip, port, principal, certificate)


def _socket_address(data: bytes, text: str, at: int, end: int) -> tuple[str, int]:
    """Of an Address: IP address and port."""
    ip, port = "", 0
    if at == end:
        return ip, port
    if data[at] != _SOCKET_ADDRESS:
        raise _UnusualError
    at, stop = _content(data, at + 1, end)
    if stop != end:
        raise _UnusualError
    while at < end:
        field = data[at]
        if field == _IP:
            at, stop = _content(data, at + 1, end)
            ip = _text(text, at, stop)
            at = stop
        elif field == _PORT:
            port, at = _number(data, at + 1, end)
        else:
            raise _UnusualError
    return ip, port


def _request(data: bytes, text: str, at: int, end: int) -> tuple[float, HttpAttributes | None]:
    """When the request began, and its HTTP part."""
    time = -1.0
    http: HttpAttributes | None = None
    while at < end:
        field = data[at]
        at, stop = _content(data, at + 1, end)
        if field == _TIME and time < 0:
            time = _time(data, at, stop)
        elif field == _HTTP and http is None:
            http = _http(data, text, at, stop)
        else:
            raise _UnusualError
        at = stop
    return max(time, 0.0), http


def _time(data: bytes, at: int, end: int) -> float:
    seconds = nanos = 0
    while at < end:
        field = data[at]
        if field == _SECONDS:
            seconds, at = _number(data, at + 1, end)
        elif field == _NANOS:
            nanos, at = _number(data, at + 1, end)
        else:
            raise _UnusualError
    return seconds + nanos / 1e9


def _http(data: bytes, text: str, at: int, end: int) -> HttpAttributes:
    headers: dict[str, tuple[str, ...]] = {}
    id_ = method = path = host = scheme = protocol = ""
    while at < end:
        field = data[at]
        at, stop = _content(data, at + 1, end)
        if field == _HEADERS:
            _add_header(headers, data, text, at, stop)
        elif field == _ID:
            id_ = _text(text, at, stop)
        elif field == _METHOD:
            method = _text(text, at, stop)
        elif field == _PATH:
            path = _text(text, at, stop)
        elif field == _HOST:
            host = _text(text, at, stop)
        elif field == _SCHEME:
            scheme = _text(text, at, stop)
        elif field == _PROTOCOL:
            protocol = _text(text, at, stop)
        else:
            raise _UnusualError
        at = stop
    names = "".join(headers)
    if names != names.lower():
        raise _UnusualError
    return HttpAttributes(id_, method, path, host, scheme, protocol, headers or EMPTY)


def _add_header(headers: dict[str, tuple[str, ...]], data: bytes, text: str, at: int, end: int) -> None:
    """Take an entry of the map."""
    if data[at] != _KEY:
        raise _UnusualError
    at, stop = _content(data, at + 1, end)
    name = _text(text, at, stop)
    if data[stop] != _VALUE or name in headers:
        raise _UnusualError
    at, stop = _content(data, stop + 1, end)
    if stop != end:
        raise _UnusualError
    headers[name] = (_text(text, at, stop),)


def _only_text(data: bytes, text: str, field: int, at: int, end: int) -> str:
    """The text of a message that has one field, which is text."""
    if at == end:
        return ""
    if data[at] != field:
        raise _UnusualError
    at, stop = _content(data, at + 1, end)
    if stop != end:
        raise _UnusualError
    return _text(text, at, stop)


def _text(text: str, at: int, end: int) -> str:
    """A piece of text."""
    found = text[at:end]
    if not found.isascii():
        raise _UnusualError
    return found


def _content(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the content begins and ends whose length stands here."""
    size, at = _number(data, at, end)
    stop = at + size
    if stop > end:
        raise _UnusualError
    return at, stop


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number that is not large, and where what follows it begins."""
    number = data[at] & _SEVEN_BITS
    shift = 0
    while data[at] > _SEVEN_BITS:
        at += 1
        shift += 7
        if shift > _MAX_SHIFT:
            raise _UnusualError
        number |= (data[at] & _SEVEN_BITS) << shift
    at += 1
    if at > end or number > _LARGEST:
        raise _UnusualError
    return number, at
