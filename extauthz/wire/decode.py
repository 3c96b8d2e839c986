"""CheckRequest bytes -> ``AttributeContext``; for people's files, its JSON form as well.

The transport hands over bytes and not a message, so that garbage becomes a denial with a reason instead of an RPC error
(which a proxy that fails open would turn into an allow). Nothing is judged here, but where the message itself can be read
in two ways it says so in ``fault``. Unknown fields, unknown members of a oneof and foreign metadata are left alone: newer
proxies send more, and other data planes less, than Envoy 1.40.

Two forms of headers exist: ``headers``, a map in which Envoy has joined repeated values with a comma and put ``!`` for
bytes that are not UTF-8, and ``header_map`` (``encode_raw_headers``), a list of raw entries. Raw bytes are read as latin-1,
in which every byte is one character and nothing is lost.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from extauthz._pb.envoy.config.core.v3.base_pb2 import HeaderValue
from extauthz._pb.envoy.service.auth.v3.attribute_context_pb2 import AttributeContext as AttributeContextMessage
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.model import EMPTY, AttributeContext, HttpAttributes, Peer
from extauthz.wire import usual

__all__ = ["decode", "decode_json"]

_NOBODY = Peer()
_METADATA = frozenset({"metadata_context", "metadataContext", "route_metadata_context", "routeMetadataContext"})


def decode(message: bytes) -> AttributeContext:
    """What a serialised ``envoy.service.auth.v3.CheckRequest`` says. Never raises: see ``AttributeContext.fault``."""
    if usual.COMPILED:
        sent = usual.read(message)
        if sent is not None:
            return sent
    return by_protobuf(message)


def by_protobuf(message: bytes) -> AttributeContext:
    """The same in the words of protobuf, which has the last one about every message."""
    try:
        check = CheckRequest.FromString(message)
    except DecodeError:
        return _unreadable("the message is not a CheckRequest")
    return _context(check)


def decode_json(text: str | bytes) -> AttributeContext:
    """What a CheckRequest in the JSON form of protobuf says, or a recorded one under ``check_request``. Never raises.

    The message is then read as ``decode`` reads it. Metadata, which nothing here looks at, may be of any type.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        if isinstance(value, dict) and isinstance(value.get("check_request"), dict):
            value = value["check_request"]
        if isinstance(value, dict) and isinstance(value.get("attributes"), dict):
            kept = {name: part for name, part in value["attributes"].items() if name not in _METADATA}
            value = {"attributes": kept}
        check = ParseDict(value, CheckRequest(), ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, RecursionError, ParseError):
        # What protobuf's parser raises for a value that is no object is not documented; texts could quote the input.
        return _unreadable("the text is not a CheckRequest in JSON")
    return _context(check)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object. Two of one name can be read in two ways. Raises ValueError."""
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a member is there twice")
    return value


def _context(check: CheckRequest) -> AttributeContext:
    if not check.HasField("attributes"):
        return _unreadable("the CheckRequest has no attributes")
    attributes = check.attributes
    request = attributes.request
    http, fault = _http(request.http) if request.HasField("http") else (None, "")
    extensions = attributes.context_extensions
    return AttributeContext(
        source=_peer(attributes.source),
        destination=_peer(attributes.destination),
        time=request.time.seconds + request.time.nanos / 1e9,
        http=http,
        sni=attributes.tls_session.sni,
        context=dict(extensions) if extensions else EMPTY,
        fault=fault,
    )


def _unreadable(fault: str) -> AttributeContext:
    return AttributeContext(source=_NOBODY, destination=_NOBODY, time=0, http=None, fault=fault)


def _peer(peer: AttributeContextMessage.Peer) -> Peer:
    """A peer; one that came over a unix socket (``pipe``) has no address."""
    address = peer.address.socket_address
    return Peer(address.address, address.port_value, peer.principal, peer.certificate)


def _http(http: AttributeContextMessage.HttpRequest) -> tuple[HttpAttributes, str]:
    """The HTTP part, and what can be read in two ways about its headers."""
    fault = ""
    headers = _map_headers(http.headers)
    if http.HasField("header_map"):
        raw = _headers((entry.key, _raw_value(entry)) for entry in http.header_map.headers)
        if headers and _joined(headers) != _joined(raw):
            fault = "headers and header_map are both there and differ"
        headers = raw or headers
    return HttpAttributes(http.id, http.method, http.path, http.host, http.scheme, http.protocol, headers), fault


def _map_headers(entries: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Values by lower-case name of the headers that came as a map, in which Envoy repeats no name."""
    names = list(entries)  # items() of this map is slow, and so is going through it twice
    if not names:
        return EMPTY
    text = "".join(names)
    if text.isascii() and text == text.lower():
        return {name: (entries[name],) for name in names}
    return _headers((name, entries[name]) for name in names)


def _headers(entries: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """Values by lower-case name, in order of arrival. Only ASCII has cases here: U+212A is no letter k."""
    headers: dict[str, tuple[str, ...]] = {}
    repeated: dict[str, list[str]] = {}
    for name, value in entries:
        lower = name.lower() if name.isascii() else name
        if lower not in headers:
            headers[lower] = (value,)
        elif lower in repeated:
            repeated[lower].append(value)
        else:
            repeated[lower] = [*headers[lower], value]
    for name, values in repeated.items():
        headers[name] = tuple(values)
    return headers


def _raw_value(entry: HeaderValue) -> str:
    return entry.raw_value.decode("latin-1") if entry.raw_value else entry.value


def _joined(headers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: ",".join(values) for name, values in headers.items()}
