"""Whatever is thrown at the handler: no exception out of it, and no allow that the policy does not give (I1, I2, I4)."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.canonical import canonical_host
from extauthz.check import RequestRules
from extauthz.model import Deny, Reason
from tests.journey import (
    ALLOW_ALL,
    DENY_ALL,
    Always,
    Journey,
    assert_denies,
    caller,
    check_request,
    policies,
    reason_of,
)

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.binpb"))
NARROW = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: narrow}
spec:
  targets: [{hosts: [public.example.com]}]
  authentication: {optional: true}
  deny:
  - to: [{paths: ["/public/secret/**"]}]
  rules:
  - role: anonymous
    to: [{methods: [GET], paths: ["/public/**"]}]
  response:
    headers: {x-auth-subject: identity.subject}
"""
ALLOWED_ANYWAY = {
    # CONNECT is allowed only where ``methods`` names it, and a connection without HTTP only by ports.
    "h1_connect",
    "tcp_network_filter_mtls",
}
REFUSED_FORM = {
    "h1_path_encoded": "path-ambiguous",
    # It asks for another method in a header.
    "h1_spoofed_headers": "request-malformed",
}

PATHS = st.lists(
    st.sampled_from(
        ["/", "public", "secret", "..", ".", "%2e", "%2f", "%5c", "\\", ";", "//", "?", "#", "%00", "%25", "a"]
    ),
    max_size=10,
).map("".join)
TEXT = st.text(max_size=20) | PATHS
HEADERS = st.dictionaries(
    st.sampled_from(["authorization", "x-auth-subject", "x-forwarded-for", "host", ":path", "content-type", "cookie"])
    | st.text(max_size=8),
    st.text(max_size=12).filter(lambda text: not any(0xD800 <= ord(char) <= 0xDFFF for char in text)),
    max_size=5,
)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_deny_all_denies_every_capture(capture: Path) -> None:
    """Every kind of request that a real Envoy sends, HTTP or not."""
    assert_denies(Journey(policies(DENY_ALL)).answer(capture.read_bytes()))


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_allow_all_allows_every_capture_that_has_one_reading(capture: Path) -> None:
    """The others are denied with a reason that says why."""
    response = Journey(policies(ALLOW_ALL)).answer(capture.read_bytes())
    if capture.stem in REFUSED_FORM:
        assert_denies(response)
        assert reason_of(response) == REFUSED_FORM[capture.stem]
    elif capture.stem in ALLOWED_ANYWAY:
        assert_denies(response)
        assert reason_of(response) == "no-rule"
    else:
        assert response.status.code == 0, reason_of(response)


@given(st.binary(max_size=300))
def test_random_bytes_are_denied(message: bytes) -> None:
    """Nothing that is not a CheckRequest passes a policy that names a path."""
    assert_denies(Journey(policies(NARROW)).answer(message))


@given(st.data())
@settings(max_examples=300)
def test_mutated_captures_never_pass(data: st.DataObject) -> None:
    """A flipped bit in a real message never becomes a request for the public part."""
    original = bytearray(data.draw(st.sampled_from(CAPTURES)).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    assert_denies(Journey(policies(NARROW)).answer(bytes(original)))


@given(
    method=st.sampled_from(["GET", "get", "CONNECT", "OPTIONS", "POST", ""]) | st.text(max_size=5),
    path=PATHS.map("/public".__add__) | TEXT,
    host=st.sampled_from(["public.example.com", "PUBLIC.example.com:80", "a,public.example.com"])
    | st.text(max_size=10),
    headers=HEADERS,
)
@settings(max_examples=500)
def test_an_allow_is_for_what_the_policy_names(method: str, path: str, host: str, headers: dict[str, str]) -> None:
    """An independent reading of the raw request agrees with every allow."""
    message = CheckRequest()
    http = message.attributes.request.http
    try:
        http.method, http.path, http.host = method, path, host
        for name, value in headers.items():
            http.headers[name] = value
    except (ValueError, UnicodeEncodeError):
        return
    response = Journey(policies(NARROW)).answer(message.SerializeToString())
    if response.status.code != 0:
        assert_denies(response)
        return
    raw = path.partition("?")[0]
    assert method == "GET"
    assert canonical_host(host).text == "public.example.com"
    assert raw == "/public" or raw.startswith("/public/")
    assert not raw.startswith("/public/secret")
    for oddity in ("..", "//", "\\", ";", "#", "%2f", "%5c", "%00", "%25"):
        assert oddity not in raw
    # The anonymous caller has no subject: the name is written empty or removed, never left to the client (I5).
    touched = {option.header.key for option in response.ok_response.headers} | set(
        response.ok_response.headers_to_remove
    )
    assert "x-auth-subject" in touched


@given(st.sampled_from([reason for reason in Reason if reason is not Reason.ALLOWED]), PATHS)
def test_refused_credentials_never_pass(reason: Reason, path: str) -> None:
    """Whatever the path and the policy: a refused token denies."""
    journey = Journey(policies(ALLOW_ALL), Always(Deny(reason)))
    assert_denies(journey.answer(check_request(path="/" + path)))


@given(st.sets(st.sampled_from(["admin", "guest", "", "USER", "user ", "user\u200b", "\uff55ser"])))
def test_only_the_exact_role_passes(roles: set[str]) -> None:
    """Names are compared by code points (T45)."""
    users = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: users}
spec: {rules: [{role: user}]}
"""
    assert_denies(Journey(policies(users), Always(caller(*roles))).answer(check_request()))


CURIOUS = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: curious}
spec:
  authentication: {optional: true}
  deny:
  - when: '"debug" in request.query || request.headers.exists(name, name == "x-debug")'
  rules:
  - role: anonymous
    to: [{paths: ["/{a}/**", "/{a}/{b}/{c}/d"]}]
  response:
    headers: {x-auth-host: request.host}
"""
LARGE = 200_000


def flood(names: int, *, same: bool = False) -> bytes:
    check = CheckRequest.FromString(check_request(path="/a/b"))
    for number in range(names):
        check.attributes.request.http.header_map.headers.add(key="a" if same else f"a{number}")
    return check.SerializeToString()


@pytest.mark.parametrize(
    "message",
    [
        flood(LARGE // 10),
        flood(LARGE // 5, same=True),
        check_request(path="/a?" + "b=%41&" * (LARGE // 6)),
        check_request(path="/a?" + "&" * LARGE + "_method"),
        check_request(path="/a?b=" + "%41" * (LARGE // 3)),
        check_request(path="/a" + "/b" * (LARGE // 2)),
        check_request(path="/a" + "/../b" * (LARGE // 5)),
        check_request(path="/a/" + "%20" * (LARGE // 3)),
        check_request(path="/a", host="a." * (LARGE // 2)),
        check_request(path="/a", host="1." * 126 + "1"),
        check_request(path="/a", headers={"cookie": "a=b; " * (LARGE // 5)}),
        check_request(path="/a", headers={"x-forwarded-for": "," * LARGE}),
        check_request(path="/a", headers={"content-type": "application/grpc" * (LARGE // 16)}),
        check_request(path="/a", headers={"upgrade": "websocket," * (LARGE // 10), "_" * LARGE: ""}),
    ],
    ids=range(14),
)
def test_the_largest_messages_are_answered_in_time(message: bytes) -> None:
    """No part of a request costs more than in proportion to its size (I7): nobody else waits for a hostile one."""
    journey = Journey(policies(CURIOUS), rules=RequestRules(trusted_hops=1))
    started = time.process_time()
    journey.answer(message)
    assert time.process_time() - started < 0.3
    assert [decision.verdict.reason for decision in journey.watcher.finished] != [Reason.INTERNAL_ERROR]


@pytest.mark.parametrize("name", ["x_auth_subject", "X_AUTH_SUBJECT", "x.auth.subject", "x-auth_subject"])
@pytest.mark.parametrize("raw", [False, True])
def test_no_other_spelling_of_our_header_gets_through(name: str, raw: bool) -> None:
    """The upstream of a plain Envoy would read it beside ours, or instead of it (I5)."""
    check = CheckRequest.FromString(check_request(path="/public", host="public.example.com"))
    http = check.attributes.request.http
    assert Journey(policies(NARROW)).answer(check.SerializeToString()).status.code == 0
    if raw:
        http.header_map.headers.add(key=name, raw_value=b"root")
    else:
        http.headers[name] = "root"
    response = Journey(policies(NARROW)).answer(check.SerializeToString())
    assert_denies(response)
    assert reason_of(response) == "request-malformed"
