"""The canonical request, and what has none."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.canonical import HeaderTwins
from extauthz.check import RequestRules, canonical_request
from extauthz.model import AttributeContext, Deny, HttpAttributes, Peer, Reason, Request

Send = Callable[..., AttributeContext]


def accepted(sent: AttributeContext, rules: RequestRules | None = None) -> Request:
    """The canonical request; fails where there is none."""
    request = canonical_request(sent, rules or RequestRules())
    assert isinstance(request, Request), request
    return request


def refused(sent: AttributeContext, rules: RequestRules | None = None) -> Reason:
    """The reason of a refusal; fails where there is none."""
    denial = canonical_request(sent, rules or RequestRules())
    assert isinstance(denial, Deny), denial
    return denial.reason


def test_path_and_query_are_split_at_the_first_question_mark(send: Send) -> None:
    """The query is kept raw, and the path is canonical."""
    request = accepted(send(path="/%61?b=?c&d"))
    assert (request.path, request.query) == ("/a", "b=?c&d")


def test_a_path_that_looks_like_an_authority_stays_a_path(send: Send) -> None:
    """``//admin`` is never read as a host name (GHSA-9f29-v6mm-pw6w)."""
    assert refused(send(path="//admin/users")) is Reason.PATH_AMBIGUOUS


@pytest.mark.parametrize("path", ["/a/../b", "/a;x", "/a%2fb", "/a?x#y", "/a#b"])
def test_ambiguous_paths_are_refused(send: Send, path: str) -> None:
    """Two servers could read them differently (I4)."""
    assert refused(send(path=path)) is Reason.PATH_AMBIGUOUS


@pytest.mark.parametrize("path", ["", "*", "orders", "http://orders.example.com/orders", "?x"])
def test_a_path_begins_with_a_slash(send: Send, path: str) -> None:
    """Anything else is malformed (CVE-2026-33186)."""
    assert refused(send(path=path)) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("method", ["", "get", "GET ", "GET\n", "G(T"])
def test_methods_are_upper_case_tokens(send: Send, method: str) -> None:
    """A method that an upstream could read as another one is malformed."""
    assert refused(send(method=method)) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("host", ["", "a,b", "u@h", "a b"])
def test_a_host_is_one_host_name(send: Send, host: str) -> None:
    """Lists, user information and empty hosts are refused."""
    assert refused(send(host=host)) is Reason.HOST_INVALID


def test_the_host_is_canonical(send: Send) -> None:
    """Lower-case, without port and final dot."""
    assert accepted(send(host="Orders.Example.COM.:8443")).host == "orders.example.com"


def test_a_differing_host_header_is_refused(send: Send) -> None:
    """Virtual hosts of an upstream may go by the header."""
    assert refused(send({"host": "admin.example.com"})) is Reason.HOST_INVALID
    accepted(send({"host": "ORDERS.example.com:80"}))


@pytest.mark.parametrize(
    ("name", "value"), [(":path", "/admin"), (":method", "DELETE"), (":authority", "admin.example.com")]
)
def test_pseudo_headers_that_contradict_the_request_are_refused(send: Send, name: str, value: str) -> None:
    """The request is told twice, and both must say the same."""
    assert refused(send({name: value})) is Reason.REQUEST_MALFORMED


def test_pseudo_headers_are_not_headers(send: Send) -> None:
    """Conditions see the canonical path only, never the raw one beside it."""
    request = accepted(send({":path": "/orders", ":method": "GET", "accept": "*/*"}))
    assert dict(request.headers) == {"accept": ("*/*",)}


@pytest.mark.parametrize("value", ["a\x00b", "a\r\nb", "a\x1bb", "a\x7fb", "a\ud800b"])
def test_control_characters_in_headers_are_refused(send: Send, value: str) -> None:
    """NUL would cut a string in a condition; lone surrogates can't be written anywhere."""
    assert refused(send({"x-tenant": value})) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("scheme", ["https\0x", "https\r\nx", "\ud800"])
def test_control_characters_in_the_scheme_are_refused(send: Send, scheme: str) -> None:
    """The client writes it, and conditions can ask for it."""
    assert refused(send(scheme=scheme)) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("name", ["x tenant", "", "x\x00", "X-Upper", "x:y", "x\n", "x\ny", "\u212a"])
def test_odd_header_names_are_refused(send: Send, name: str) -> None:
    """A name is a lower-case token."""
    assert refused(send({name: "v"})) is Reason.REQUEST_MALFORMED


def test_underscore_and_dash_are_different_names(send: Send) -> None:
    """``x_tenant`` never stands in for ``x-tenant``."""
    assert "x-tenant" not in accepted(send({"x_tenant": "evil"})).headers


@pytest.mark.parametrize("header", ["x-http-method-override", "x-method-override", "x-http-method"])
def test_method_overrides_are_refused(send: Send, header: str) -> None:
    """A GET that is served as DELETE would be judged as GET."""
    assert refused(send({header: "DELETE"})) is Reason.REQUEST_MALFORMED
    accepted(send({header: "get"}))
    accepted(send({header: "DELETE"}), RequestRules(method_override=True))


@pytest.mark.parametrize("query", ["_method=DELETE", "a=1&_METHOD=delete", "%5fmethod=DELETE", "_%6dethod=DELETE"])
def test_method_overrides_in_the_query_are_refused(send: Send, query: str) -> None:
    """However the field's name is spelled."""
    assert refused(send(path=f"/orders?{query}")) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("name", ["x_http_method_override", "x.http.method.override", "x-http_method"])
def test_method_overrides_are_refused_in_every_spelling_that_an_upstream_folds(send: Send, name: str) -> None:
    """CGI and WSGI read X_HTTP_METHOD_OVERRIDE as they read X-HTTP-Method-Override."""
    assert refused(send({name: "DELETE"})) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("query", ["a=1;_method=DELETE", ".method=DELETE", "%5Bmethod=DELETE", "a=%&_method=DELETE"])
def test_method_overrides_hide_behind_no_other_reading_of_a_query(send: Send, query: str) -> None:
    """Some split at semicolons, PHP makes an underscore of a dot and of a bracket, and a broken escape ends nothing."""
    assert refused(send(path=f"/orders?{query}")) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("query", ["next=/a%3F_method%3DDELETE", "method=DELETE", "q=%C3%A9%20x", "_methods=a;b"])
def test_other_fields_are_no_method_override(send: Send, query: str) -> None:
    """Only the field's own name counts."""
    assert accepted(send(path=f"/orders?{query}")).query == query


def test_a_twin_of_a_header_that_policies_write_is_refused(send: Send) -> None:
    """``x_auth_user`` would reach the upstream beside our ``x-auth-user``, and many read the two as one (I5)."""
    twins = HeaderTwins(["x-auth-user"])
    forged = canonical_request(send({"x_auth_user": "root"}), RequestRules(), twins)
    assert isinstance(forged, Deny)
    assert forged.reason is Reason.REQUEST_MALFORMED
    assert "x-auth-user" in forged.detail
    assert isinstance(canonical_request(send({"x-auth-user": "root", "x_other": "a"}), RequestRules(), twins), Request)


def test_connect_has_no_path(send: Send) -> None:
    """CONNECT names only an authority."""
    request = accepted(send(method="CONNECT", path="", host="tgt.example:443"))
    assert (request.path, request.host) == ("", "tgt.example")


def test_a_request_without_http_part_is_a_connection(send: Send) -> None:
    """The TCP filter sends peers and nothing else."""
    request = accepted(send(tcp=True))
    assert not request.http
    assert request.destination.port == 5432


def test_a_message_that_can_be_read_in_two_ways_is_malformed(send: Send) -> None:
    """What the wire found is the reason."""
    assert refused(send(fault="headers and header_map differ")) is Reason.REQUEST_MALFORMED


def test_the_server_name_of_tls_may_have_to_equal_the_host(send: Send) -> None:
    """A reused connection must not reach another virtual host where the operator says so."""
    rules = RequestRules(sni_must_equal_host=True)
    assert refused(send(sni="other.example.com"), rules) is Reason.HOST_INVALID
    accepted(send(sni="orders.example.com"), rules)
    accepted(send(sni="", tcp=True), rules)
    accepted(send(sni="other.example.com"))


def test_a_connection_without_server_name_is_not_the_host_that_it_asks_for(send: Send) -> None:
    """Leaving SNI out would reach every host by way of the default filter chain; what is unknown is denied."""
    assert refused(send(sni=""), RequestRules(sni_must_equal_host=True)) is Reason.HOST_INVALID


@pytest.mark.parametrize(
    ("kind", "grpc"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
        ("application/json", False),
    ],
)
def test_grpc_callers_are_told_by_their_content_type(send: Send, kind: str, *, grpc: bool) -> None:
    """By the very rule that Envoy uses when it turns a denial into trailers."""
    assert accepted(send({"content-type": kind})).grpc is grpc


def test_a_true_preflight_has_three_signs(send: Send) -> None:
    """OPTIONS, Origin and Access-Control-Request-Method; a plain OPTIONS is judged like any request."""
    headers = {"origin": "https://app.example.com", "access-control-request-method": "PUT"}
    assert accepted(send(headers, method="OPTIONS")).preflight
    assert not accepted(send({"origin": "https://app.example.com"}, method="OPTIONS")).preflight
    assert not accepted(send(headers, method="GET")).preflight
    for name in headers:
        assert not accepted(send(headers | {name: ""}, method="OPTIONS")).preflight


def test_a_preflight_asks_for_no_other_method(send: Send) -> None:
    """Browsers send none; where overrides are accepted, one would carry a DELETE past authentication."""
    headers = {"origin": "https://app.example.com", "access-control-request-method": "PUT"}
    forged = send(headers | {"x-http-method-override": "DELETE"}, method="OPTIONS")
    assert not accepted(forged, RequestRules(method_override=True)).preflight


def test_websocket_upgrades_are_seen_in_both_http_versions(send: Send) -> None:
    """Extended CONNECT arrives as GET with ``upgrade``, like HTTP/1.1."""
    assert accepted(send({"upgrade": "WebSocket"}, protocol="HTTP/2")).websocket


class TestClientAddress:
    """``clientAddress.trustedHops``."""

    def test_without_trusted_hops_it_is_the_peer(self, send: Send) -> None:
        """A forged x-forwarded-for changes nothing."""
        assert accepted(send({"x-forwarded-for": "1.1.1.1"})).client_ip == ip_address("10.0.0.9")

    @pytest.mark.parametrize(("hops", "client"), [(1, "203.0.113.7"), (2, "198.51.100.2"), (3, "1.1.1.1"), (4, None)])
    def test_trusted_hops_count_from_the_right(self, send: Send, hops: int, client: str | None) -> None:
        """What stands further left was written by the client; too few entries give no address."""
        request = accepted(
            send({"x-forwarded-for": ("1.1.1.1, 198.51.100.2", "203.0.113.7")}), RequestRules(trusted_hops=hops)
        )
        assert request.client_ip == (ip_address(client) if client else None)

    @pytest.mark.parametrize("chain", ["", "unknown", "1.2.3.4:80", "fe80::1%eth0", "1.2.3.4,", "1" * 9999])
    def test_a_malformed_hop_gives_no_address(self, send: Send, chain: str) -> None:
        """Nothing is repaired."""
        assert accepted(send({"x-forwarded-for": chain}), RequestRules(trusted_hops=1)).client_ip is None

    def test_an_ipv4_mapped_address_is_the_ipv4_address(self, send: Send) -> None:
        """A block of IPv4 addresses is not dodged by another spelling."""
        assert accepted(send(source=Peer("::ffff:10.1.2.3", 1))).source_ip == ip_address("10.1.2.3")

    def test_a_unix_socket_has_no_address(self, send: Send) -> None:
        """There is nothing to match."""
        assert accepted(send(source=Peer())).source_ip is None


@given(
    st.builds(
        AttributeContext,
        source=st.builds(Peer, st.text(max_size=20), st.integers(), st.text(max_size=20)),
        destination=st.builds(Peer),
        time=st.floats(allow_nan=False),
        http=st.builds(
            HttpAttributes,
            id=st.text(max_size=5),
            method=st.sampled_from(["GET", "CONNECT", "get", "OPTIONS"]) | st.text(max_size=5),
            path=st.text(max_size=20) | st.text(alphabet="/.%2eE;?#&_method=", max_size=20).map("/".__add__),
            host=st.sampled_from(["a.example", "A.example:1"]) | st.text(max_size=10),
            scheme=st.text(max_size=5),
            protocol=st.just("HTTP/1.1"),
            headers=st.dictionaries(
                st.sampled_from(["upgrade", "content-type", "x-forwarded-for", "host", ":path"]) | st.text(max_size=5),
                st.lists(st.text(max_size=10), min_size=1, max_size=3).map(tuple),
                max_size=4,
            ),
        ),
        sni=st.text(max_size=10),
    ),
    st.builds(RequestRules, trusted_hops=st.integers(0, 3), sni_must_equal_host=st.booleans()),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_hostile_requests_never_raise(sent: AttributeContext, rules: RequestRules) -> None:
    """There is a canonical request or a denial with status 400."""
    request = canonical_request(sent, rules)
    if isinstance(request, Deny):
        assert request.reason.http == 400
    else:
        assert request.path.startswith("/") or request.method == "CONNECT"
