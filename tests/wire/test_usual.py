"""The reader of usual messages says what protobuf says, or nothing."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.wire import decode, usual
from extauthz.wire.decode import by_protobuf

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.binpb"))
WORD = st.text(alphabet="abcXYZ019-_.:/ %\t\x00é\u212a", max_size=12)


def filled(
    headers: dict[str, str], words: list[str], address: tuple[str, int], seconds: int, nanos: int, *, tls: bool
) -> CheckRequest:
    check = CheckRequest()
    attributes = check.attributes
    attributes.source.address.socket_address.address, attributes.source.principal = address[0], words[0]
    attributes.source.address.socket_address.port_value = address[1]
    attributes.destination.address.socket_address.port_value = address[1]
    attributes.request.time.seconds, attributes.request.time.nanos = seconds, nanos
    http = attributes.request.http
    http.id, http.method, http.path, http.host, http.scheme, http.protocol = words[1:7]
    for name, value in headers.items():
        http.headers[name] = value
    attributes.metadata_context.SetInParent()
    if tls:
        attributes.tls_session.sni = words[7]
    return check


CHECKS = st.builds(
    filled,
    st.dictionaries(WORD, WORD | st.just("x" * 20_000), max_size=6),
    st.lists(WORD, min_size=8, max_size=8),
    st.tuples(WORD, st.integers(0, 2**32 - 1)),
    st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1) | st.integers(0, 999_999_999),
    tls=st.booleans(),
)


def same(message: bytes) -> bool:
    """Whether the reader had a word; fails where it is not that of protobuf."""
    sent = usual.read(message)
    if sent is None:
        return False
    assert sent == by_protobuf(message)
    return True


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_it_reads_captures_as_protobuf_does(capture: Path) -> None:
    """Those of a real Envoy, of any kind; what asks for nothing odd is read."""
    message = capture.read_bytes()
    read = same(message)
    if capture.stem in ("h1_get_basic", "h1_websocket", "h2_get_cookie_crumbs", "mtls_spiffe"):
        assert read


@given(CHECKS)
def test_it_reads_messages_as_protobuf_does(check: CheckRequest) -> None:
    """Whatever is in them."""
    same(check.SerializeToString())


def test_a_plain_message_is_read() -> None:
    """With every field that it knows, long values among them."""
    headers = {"authorization": "Bearer " + "x" * 20_000, "accept": "", "cookie": "y" * 200}
    words = ["spiffe://a/b", "1", "GET", "/a?b", "h", "https", "HTTP/2", "h"]
    check = filled(headers, words, ("10.0.0.9", 70_000), 1_795_716_947, 5, tls=True)
    check.attributes.source.certificate = "-----BEGIN%20"
    assert same(check.SerializeToString())
    assert decode(check.SerializeToString()) == by_protobuf(check.SerializeToString())


@given(CHECKS, st.data())
def test_it_reads_changed_messages_as_protobuf_does(check: CheckRequest, data: st.DataObject) -> None:
    """Bytes that were changed, put in, left out or said twice: never a word that protobuf does not say."""
    message = bytearray(check.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at, upto = sorted((data.draw(st.integers(0, len(message))), data.draw(st.integers(0, len(message)))))
        change = data.draw(st.sampled_from(("set", "put", "cut", "twice")))
        if change == "set" and at < len(message):
            message[at] = data.draw(st.integers(0, 255))
        elif change == "put":
            message[at:at] = data.draw(st.binary(max_size=4))
        elif change == "cut":
            del message[at : min(upto, at + 4)]
        else:
            message[at:at] = message[at:upto]
    same(bytes(message))


@given(st.binary(max_size=64))
@example(b"")
@example(b"\x0a")
@example(b"\x0a\x00")
@example(b"\x0a\x80\x00")
@example(b"\x0a\xff\xff\xff\xff\x0f")
@example(b"\x0a\x80\x80\x80\x80\x80\x00")
@example(b"\x0a\x02\x0a\x00\x0a\x00")
def test_garbage_is_left_to_protobuf(message: bytes) -> None:
    """It has a word about it only if protobuf has the same one."""
    same(message)


def message_of(*parts: bytes) -> bytes:
    """A message whose request has these fields of its HTTP part."""
    http = b"".join(parts)
    request = b"\x12" + bytes([len(http)]) + http
    attributes = b"\x22" + bytes([len(request)]) + request
    return b"\x0a" + bytes([len(attributes)]) + attributes


HEADER = b"\x1a\x06\x0a\x01a\x12\x01b"


@pytest.mark.parametrize(
    "parts",
    [
        (HEADER, HEADER),
        (b"\x1a\x06\x12\x01b\x0a\x01a",),
        (b"\x1a\x03\x0a\x01a",),
        (b"\x1a\x08\x0a\x01a\x12\x01b\x18\x01",),
        (b"\x1a\x07\x0a\x01a\x12\x01bc",),
        (b"\x1a\x06\x0a\x01A\x12\x01b",),
        (b"\x1a\x06\x0a\x01a\x12\x01\xff",),
        (b"\x6a\x00", HEADER),
        (b"\x5a\x01b", HEADER),
        (b"\x48\x01",),
        (b"\x9a\x00\x06\x0a\x01a\x12\x01b",),
        (b"\x1a\x06\x0a\x03a\x12\x01b",),
        (b"\x1a\x06\x0a\x01a\x12\x09b",),
    ],
    ids=[
        *("twice", "value first", "no value", "unknown field", "more in the entry", "upper case", "not UTF-8"),
        *("header_map", "body", "size", "a long tag", "a key over the value", "a value over its end"),
    ],
)
def test_headers_in_another_form_are_left_to_protobuf(parts: tuple[bytes, ...]) -> None:
    """An entry that two parsers could take differently is not read here."""
    assert usual.read(message_of(HEADER)) == by_protobuf(message_of(HEADER))
    assert usual.read(message_of(*parts)) is None


def test_a_part_that_comes_twice_is_left_to_protobuf() -> None:
    """Protobuf joins the two, and the last word would be another one."""
    request = message_of(HEADER)[2:]
    assert usual.read(b"\x0a" + bytes([2 * len(request)]) + request + request) is None
    assert usual.read(message_of(HEADER) + message_of(HEADER)) is None
