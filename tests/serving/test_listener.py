"""Addresses and what may be listened on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.errors import ServingError
from extauthz.serving.listener import Listener, TlsFiles, UnixAddress, check_listener, parse_address


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::]:9000", "[::]:9000"),
        ("[::1]:65535", "[::1]:65535"),
        ("unix:/run/extauthz/check.sock", "unix:/run/extauthz/check.sock"),
        ("unix:///run/check.sock", "unix:/run/check.sock"),
        ("unix:check.sock", "unix:check.sock"),
    ],
)
def test_addresses_are_read_as_they_are_written(text: str, written: str) -> None:
    """An address is an IP address or localhost with a port, or the path of a unix socket."""
    assert str(parse_address(text)) == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (":9000", "[::]:9000"),
        ("9000", "not an address"),
        ("::1:9000", "not an address"),
        ("127.0.0.1:65536", "over 65535"),
        ("[127.0.0.1]:1", "IP address"),
        ("authz.example.com:9000", "names can change"),
        ("http://127.0.0.1:9000", "not an address"),
        ("unix:", "not the path"),
        ("unix:@abstract", "not the path"),
        ("unix://relative/path", "not the path"),
        ("unix:/run/", "not the path"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str, says: str) -> None:
    """A text that is no address is an error that shows what one looks like."""
    with pytest.raises(ServingError, match=r".") as caught:
        parse_address(text)
    assert says in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_serving_error(text: str) -> None:
    """No text makes the parser fail in another way, and what it accepts reads the same when it is written."""
    try:
        address = parse_address(text)
    except ServingError:
        return
    assert parse_address(str(address)) == address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_is_accepted(host: object, port: int) -> None:
    """Each IPv4 and IPv6 address reads back as itself."""
    text = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    assert str(parse_address(text)) == text


TLS = TlsFiles("cert.pem", "key.pem")


@pytest.mark.parametrize("text", ["127.0.0.1:9000", "127.8.9.1:1", "[::1]:9000", "unix:/run/check.sock"])
def test_plaintext_is_fine_where_nobody_else_listens(text: str) -> None:
    """Loopback addresses and unix sockets need no TLS."""
    assert check_listener("listen.check", Listener(parse_address(text))) is None


@pytest.mark.parametrize("text", ["0.0.0.0:9000", "[::]:9000", "10.1.2.3:9000", "[fe80::1]:9000"])
def test_plaintext_for_other_machines_must_be_asked_for(text: str) -> None:
    """A plaintext listener that others can reach is refused with setting, reason and override, unless asked for."""
    address = parse_address(text)
    problem = check_listener("listen.check", Listener(address))
    assert problem is not None
    assert "listen.check.address" in problem
    assert "plaintext" in problem
    assert "listen.check.plaintext: true" in problem
    assert check_listener("listen.check", Listener(address, plaintext=True)) is None
    assert check_listener("listen.check", Listener(address, tls=TLS)) is None


def test_settings_that_contradict_each_other_are_refused() -> None:
    """Plaintext with TLS, and names of clients that need not show a certificate, are errors."""
    address = UnixAddress("/run/check.sock")
    assert "exclude" in str(check_listener("x", Listener(address, plaintext=True, tls=TLS)))
    named = TlsFiles("cert.pem", "key.pem", None, ("spiffe://a/b",))
    assert "clientCaFile" in str(check_listener("x", Listener(address, tls=named)))
