"""CheckRequest bytes become values, and nothing raises."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.model import Peer
from extauthz.wire import decode, decode_json

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.binpb"))


def message(**headers: str) -> CheckRequest:
    """A CheckRequest for ``GET /orders`` with these headers in map mode."""
    check = CheckRequest()
    http = check.attributes.request.http
    http.method, http.path, http.host = "GET", "/orders", "orders.example.com"
    for name, value in headers.items():
        http.headers[name] = value
    return check


def raw(check: CheckRequest, *entries: tuple[str, bytes]) -> CheckRequest:
    """The same with raw headers added."""
    for key, value in entries:
        check.attributes.request.http.header_map.headers.add(key=key, raw_value=value)
    return check


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_captures_of_a_real_envoy_are_read(capture: Path) -> None:
    """All 25: HTTP/1.1, HTTP/2, gRPC, websocket, CONNECT, mTLS, TCP, Istio-shaped."""
    sent = decode(capture.read_bytes())
    assert sent.fault == ""
    assert (sent.http is None) == capture.stem.startswith("tcp_")
    assert sent.source.address


def test_the_certificate_of_the_peer_is_carried_unread(captures: dict[str, bytes]) -> None:
    """As URL-encoded PEM; it is in no text form of the value."""
    source = decode(captures["mtls_spiffe"]).source
    assert source.certificate.startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert "BEGIN" not in repr(source)
    assert decode(captures["h1_get_basic"]).source.certificate == ""


def test_there_are_captures() -> None:
    """The parametrised test above has something to read."""
    assert len(CAPTURES) == 25


def test_map_headers_are_lower_case() -> None:
    """Keys that differ in case only are one header with two values."""
    sent = decode(message(Authorization="a", authorization="b").SerializeToString())
    assert sent.http is not None
    assert sorted(sent.http.headers["authorization"]) == ["a", "b"]


def test_raw_headers_keep_order_and_bytes() -> None:
    """Every byte is one latin-1 character; repeated entries stay apart."""
    sent = decode(raw(message(), ("X-Dup", b"1"), ("x-dup", b"caf\xe9")).SerializeToString())
    assert sent.http is not None
    assert sent.http.headers == {"x-dup": ("1", "café")}


def test_thousands_of_entries_of_one_name_take_no_time() -> None:
    """The work grows with the message, not with its square."""
    flood = raw(message(), *[("a", b"")] * 40_000).SerializeToString()
    started = time.perf_counter()
    sent = decode(flood)
    assert time.perf_counter() - started < 0.5
    assert sent.http is not None
    assert len(sent.http.headers["a"]) == 40_000


def test_only_ascii_letters_have_another_case() -> None:
    """U+212A (Kelvin sign) in lower case is the letter k; no server takes it for one."""
    check = message()
    check.attributes.request.http.headers["x-to\u212aen"] = "a=1"
    sent = decode(check.SerializeToString())
    assert sent.http is not None
    assert "x-token" not in sent.http.headers


def test_a_raw_header_may_come_as_text() -> None:
    """Other data planes fill ``value`` instead of ``raw_value``."""
    check = message()
    check.attributes.request.http.header_map.headers.add(key="accept", value="*/*")
    sent = decode(check.SerializeToString())
    assert sent.http is not None
    assert sent.http.headers == {"accept": ("*/*",)}


def test_both_forms_of_headers_must_agree() -> None:
    """A token in one form and none in the other could be read in two ways."""
    assert decode(raw(message(accept="*/*"), ("accept", b"*/*")).SerializeToString()).fault == ""
    both = raw(message(authorization="Bearer a"), ("accept", b"*/*"))
    assert "differ" in decode(both.SerializeToString()).fault


def test_a_tcp_check_has_no_http_part() -> None:
    """The network filter sends peers only."""
    check = CheckRequest()
    check.attributes.source.address.socket_address.address = "127.0.0.1"
    assert decode(check.SerializeToString()).http is None


def test_a_unix_socket_has_no_address() -> None:
    """``pipe`` is not an address that a block could match."""
    check = message()
    check.attributes.source.address.pipe.path = "/run/envoy.sock"
    assert decode(check.SerializeToString()).source == Peer()


def test_time_and_route_context_are_read() -> None:
    """Start of the request in seconds, ``context_extensions`` as they are."""
    check = message()
    check.attributes.request.time.seconds = 100
    check.attributes.request.time.nanos = 500_000_000
    check.attributes.context_extensions["app"] = "orders"
    sent = decode(check.SerializeToString())
    assert (sent.time, sent.context) == (100.5, {"app": "orders"})


@pytest.mark.parametrize("garbage", [b"", b"\xff\xff\xff", b"\x0a", b"not a message at all"])
def test_garbage_has_a_fault(garbage: bytes) -> None:
    """No message and no attributes is a denial later, never an exception."""
    assert decode(garbage).fault


def test_unknown_fields_are_left_alone() -> None:
    """A newer proxy sends more than this version knows."""
    newer = message().SerializeToString() + b"\x9a\x06\x03abc"
    assert decode(newer).fault == ""


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(garbage: bytes) -> None:
    """Whatever arrives is read or has a fault."""
    decode(garbage)


@given(st.data())
def test_mutated_captures_never_raise(data: st.DataObject) -> None:
    """Flipped, cut and repeated bytes of real messages are read or have a fault."""
    original = bytearray(data.draw(st.sampled_from(CAPTURES)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(original)))
    decode(bytes(original[cut:] if data.draw(st.booleans()) else original[:cut]))


def json_of(name: str) -> str:
    """The JSON form of a capture, as it was recorded."""
    return (Path(__file__).parents[1] / "captures" / f"{name}.json").read_text("utf-8")


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_a_capture_says_the_same_in_json(capture: Path) -> None:
    """Both forms of one message, through one reader."""
    assert decode_json(json_of(capture.stem)) == decode(capture.read_bytes())


def test_json_needs_no_wrapper_and_no_snake_case() -> None:
    """The message itself, with the names that protobuf writes (`grpcurl`) or those of its source."""
    for address in ("socketAddress", "socket_address"):
        source = {"address": {address: {"address": "10.0.0.1"}}}
        text = json.dumps({"attributes": {"source": source, "metadataContext": {"x": 1}, "newer": 1}})
        assert decode_json(text).source.address == "10.0.0.1"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "1", '"x"', "null", "{}", "[" * 100_000, b"\xff\xfe\xff"),
        *('{"attributes": 1}', '{"attributes": {"request": 1}}'),
        '{"attributes": {"request": {"http": {"headers": {"a": "1", "a": "2"}}}}}',
    ],
)
def test_json_that_is_no_check_request_has_a_fault(text: str | bytes) -> None:
    """And two headers of one name are not one of them."""
    assert decode_json(text).fault


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
    )
)
def test_no_json_raises(value: object) -> None:
    """Whatever somebody has in a file."""
    assert decode_json(json.dumps(value)).fault
    assert isinstance(decode_json(json.dumps({"attributes": value})).fault, str)
