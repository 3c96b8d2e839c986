"""A curl command line is the request that curl would send, or an error that says why it can't be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.errors import ExtAuthzError
from extauthz.workbench.explain.address import Address, read_address
from extauthz.workbench.explain.curl import CurlRequest, read_curl

PLAIN = (("user-agent", "curl"), ("accept", "*/*"))


def headers(line: str) -> dict[str, str]:
    """The headers of a line without those that curl always sends."""
    return dict(header for header in read_curl(line).headers if header not in PLAIN)


def test_a_plain_line_is_a_get() -> None:
    """With what curl always sends."""
    assert read_curl("curl https://orders.example.com/orders?x=1") == CurlRequest(
        "GET", Address("https", "orders.example.com", "/orders?x=1", 443), "HTTP/2", PLAIN
    )


@pytest.mark.parametrize(
    ("line", "method", "path"),
    [
        ("curl -X DELETE https://h/x", "DELETE", "/x"),
        ("curl -XDELETE https://h/x", "DELETE", "/x"),
        ("curl --request PATCH --url https://h/x", "PATCH", "/x"),
        ("curl -d a=1 https://h/x", "POST", "/x"),
        ("curl -X PUT -d a=1 https://h/x", "PUT", "/x"),
        ("curl --json '{}' https://h/x", "POST", "/x"),
        ("curl -F file=@x https://h/x", "POST", "/x"),
        ("curl -T file https://h/x", "PUT", "/x"),
        ("curl -I https://h/x", "HEAD", "/x"),
        ("curl -sSLkvif https://h/x", "GET", "/x"),
        ("curl -G -d a=1 -d b=2 https://h/x", "GET", "/x?a=1&b=2"),
        ("curl -Gd 'a=1' https://h/x?z=0", "GET", "/x?z=0&a=1"),
        ("curl -G --data-urlencode 'q=a b&c' https://h/x", "GET", "/x?q=a+b%26c"),
        ("curl --url-query q=1 https://h/x", "GET", "/x?q=1"),
        ("curl -o out -w '%{http_code}' -m 5 --retry 3 https://h/x", "GET", "/x"),
        ("curl https://h", "GET", "/"),
        ("curl 'https://h?x=1'", "GET", "/?x=1"),
        ("curl https://h/x#part", "GET", "/x"),
        ("curl https://h/a/../x", "GET", "/x"),
        ("curl https://h/a/./b/..", "GET", "/a/"),
        ("curl --path-as-is https://h/a/../x", "GET", "/a/../x"),
        ("curl -- https://h/x", "GET", "/x"),
        ("https://h/x", "GET", "/x"),
    ],
)
def test_method_and_path(line: str, method: str, path: str) -> None:
    """As curl(1) has it."""
    read = read_curl(line)
    assert (read.method, read.address.path) == (method, path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("curl -H 'X-Tenant: a' h", {"x-tenant": "a"}),
        ("curl -H X-Tenant:a -H 'x-tenant: b' h", {"x-tenant": "b"}),
        ("curl -H 'X-Empty;' h", {"x-empty": ""}),
        ("curl -H 'X-Nothing:' h", {}),
        ("curl -H 'Accept: text/html' -A me h", {"accept": "text/html", "user-agent": "me"}),
        ("curl -b 'a=1' -b 'b=2' h", {"cookie": "a=1; b=2"}),
        ("curl -u alice:secret h", {"authorization": "Basic YWxpY2U6c2VjcmV0"}),
        ("curl http://alice:secret@h/", {"authorization": "Basic YWxpY2U6c2VjcmV0"}),
        ("curl --oauth2-bearer abc h", {"authorization": "Bearer abc"}),
        ("curl -u a:b -H 'Authorization: Bearer x' h", {"authorization": "Bearer x"}),
        ("curl -e https://from.example/ h", {"referer": "https://from.example/"}),
        ("curl -d x h", {"content-type": "application/x-www-form-urlencoded"}),
        ("curl -d x -H 'content-type: text/plain' h", {"content-type": "text/plain"}),
        ("curl -r 0-9 h", {"range": "bytes=0-9"}),
        ("curl --compressed h", {"accept-encoding": "deflate, gzip, br, zstd"}),
    ],
)
def test_headers(line: str, expected: dict[str, str]) -> None:
    """Those that are written replace those that curl would make."""
    assert headers(line) == expected


def test_a_host_header_is_the_host() -> None:
    """And the connection still goes where the URL says."""
    address = read_curl("curl -H 'Host: orders.example.com' https://10.0.0.1:8443/x").address
    assert (address.host, address.port, address.scheme) == ("orders.example.com", 8443, "https")


def test_lines_as_browsers_copy_them() -> None:
    """Over several lines, with ANSI-C quoting."""
    line = (
        "curl 'https://h/x' \\\n  -X 'POST' \\\n  -H 'x-note: a' \\\n  --data-raw $'{\"it\\'s\": 1}' \\\n  --compressed"
    )
    read = read_curl(line)
    assert (read.method, dict(read.headers)["x-note"]) == ("POST", "a")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("curl", "no URL"),
        ("", "no URL"),
        ("curl https://a https://b", "2 URLs"),
        ("curl --frobnicate https://h", "--frobnicate is not known"),
        ("curl -sQ https://h", "-Q is not known"),
        ("curl 'https://h", "no closing quotation"),
        ("curl https://h -H", "-H has no argument"),
        ("curl -H broken https://h", "no colon"),
        ("curl -H @file https://h", "headers from a file"),
        ("curl -b jar.txt https://h", "cookies from a file"),
        ("curl -G -d @file https://h", "its query from a file"),
        ("curl -u alice https://h", "user without password"),
        ("curl ftp://h/x", "scheme 'ftp'"),
        ("curl https:///x", "no host"),
    ],
)
def test_what_can_not_be_read_is_told(line: str, told: str) -> None:
    """Instead of explaining another request."""
    with pytest.raises(ExtAuthzError, match=told):
        read_curl(line)


def test_an_error_holds_no_credential() -> None:
    """I6: what is wrong is named, not quoted."""
    for line in ("curl -H s3cret https://h", "curl -u s3cret https://h", "curl -b s3cret https://h", "curl 's3cret"):
        with pytest.raises(ExtAuthzError) as error:
            read_curl(line)
        assert "s3cret" not in str(error.value)


@given(
    st.text()
    | st.lists(st.sampled_from(["curl", "-X", "-H", "-d", "a:b", "https://h/x", "-G", "--", "'", "$'", "-"])).map(
        " ".join
    )
)
def test_no_line_is_too_odd(line: str) -> None:
    """A request, or an error for people."""
    try:
        read = read_curl(line)
    except ExtAuthzError:
        return
    assert read.address.path.startswith("/")
    assert read.address.host


@pytest.mark.parametrize(
    ("url", "scheme", "host", "path", "port"),
    [
        ("orders.example.com/x", "http", "orders.example.com", "/x", 80),
        ("HTTPS://Orders.example.com:8443", "https", "Orders.example.com:8443", "/", 8443),
        ("wss://h/ws", "https", "h", "/ws", 443),
        ("https://h//a/../b;c?d", "https", "h", "//a/../b;c?d", 443),
        ("https://[2001:db8::1]:8443/x", "https", "[2001:db8::1]:8443", "/x", 8443),
    ],
)
def test_a_url_is_taken_as_it_is(url: str, scheme: str, host: str, path: str, port: int) -> None:
    """A path that is refused is what somebody may want explained."""
    assert read_address(url) == Address(scheme, host, path, port)
