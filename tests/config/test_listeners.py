from collections.abc import Callable
from typing import Any

import pytest

from extauthz.config.addresses import place
from extauthz.documents import FieldError

TLS = "tls: {certFile: a, keyFile: b}"


@pytest.mark.parametrize(
    ("written", "spelled", "local"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", True),
        ("127.8.9.10:9000", "127.8.9.10:9000", True),
        ("localhost:9000", "127.0.0.1:9000", True),
        ("[::1]:9000", "[::1]:9000", True),
        ("[0:0:0:0:0:0:0:1]:9000", "[::1]:9000", True),
        ("unix:/run/x.sock", "unix:/run/x.sock", True),
        ("unix:///run/x.sock", "unix:/run/x.sock", True),
        ("127.0.0.1:0", "127.0.0.1:0", True),
        ("0.0.0.0:9000", "0.0.0.0:9000", False),
        ("[::]:9000", "[::]:9000", False),
        ("10.0.0.1:9000", "10.0.0.1:9000", False),
        ("128.0.0.1:9000", "128.0.0.1:9000", False),
    ],
)
def test_addresses(written: str, spelled: str, local: bool) -> None:
    """An address has one spelling, and tells whether other machines can reach it."""
    found = place(written)
    assert (str(found), found.local) == (spelled, local)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "9000",
        ":9000",
        "*:9000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:٩",
        "127.1:9000",
        "127.0.0.01:9000",
        "256.0.0.1:9000",
        "2130706433:9000",
        "::1:9000",
        "[::1]",
        "[::1%lo]:9000",
        "[::ffff:127.0.0.1%1]:1",
        "[127.0.0.1]:9000",
        "localhost.example:9000",
        "extauthz:9000",
        "http://127.0.0.1:9000",
        "127.0.0.1:9000/",
        "unix:",
        "unix:/",
        "unix:/run/",
        "unix:@abstract",
        "unix-abstract:x",
        "unix:/" + "x" * 107,
    ],
)
def test_no_addresses(written: str) -> None:
    """Names, short and odd spellings of addresses, abstract sockets and too long paths are refused."""
    with pytest.raises(FieldError):
        place(written)


def test_port_alone(problems: Callable[..., list[str]]) -> None:
    """A port without host is told both ways of writing it: for this machine, and for all."""
    assert problems('listen: {check: {address: ":9000"}}') == [
        (
            "1:27: listen.check.address: needs a host before the port "
            "(127.0.0.1:9000 for this machine alone, 0.0.0.0:9000 or [::]:9000 for all)"
        )
    ]


@pytest.mark.parametrize("name", ["check", "http", "admin"])
@pytest.mark.parametrize("address", ["0.0.0.0:9999", "[::]:9999", "192.168.0.1:9999", "[::ffff:10.0.0.1]:9999"])
def test_plaintext_elsewhere(
    load: Callable[..., Any], problems: Callable[..., list[str]], name: str, address: str
) -> None:
    """Plaintext where others can connect stops the start with the setting, the reason and the override."""
    [problem] = problems(f"listen: {{{name}: {{address: '{address}'}}}}")
    assert f"listen.{name}.address" in problem
    assert "can be reached from other machines and is plaintext" in problem
    assert f"listen.{name}.plaintext: true" in problem
    assert load(f"listen: {{{name}: {{address: '{address}', plaintext: true}}}}")
    assert load(f"listen: {{{name}: {{address: '{address}', {TLS}}}}}")


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        (f"plaintext: true, {TLS}", "plaintext and tls exclude each other"),
        ('socketMode: "0660"', "only a unix socket has access rights"),
        ("tls: {certFile: a, keyFile: b, clientPrincipals: [x]}", "without clientCaFile no client shows a certificate"),
        ("tls: {certFile: a}", "keyFile' is required"),
        (
            "tls: {certFile: a, keyFile: b, clientCaFile: c, clientPrincipals: []}",
            "clientPrincipals: must not be empty",
        ),
        ("address: 'unix:/x', socketMode: 660", "socketMode must be a string"),
        ("address: 'unix:/x', socketMode: '660 '", "is not a file mode"),
        ("address: 'unix:/x', socketMode: '0o660'", "is not a file mode"),
        ("address: 'unix:/x', socketMode: '0666'", "would let every user of the machine connect"),
        (f"transport: native, {TLS}", "native can't do what tls asks for"),
        ("transport: native, reflection: true", "native can't do what reflection asks for"),
        ("transport: native, maxConnectionAge: 10m", "native can't do what maxConnectionAge asks for"),
        ("transport: http", "must be 'auto', 'native' or 'grpcio'"),
    ],
)
def test_contradictions(problems: Callable[..., list[str]], listener: str, message: str) -> None:
    """Settings that exclude each other, or would do nothing, are refused."""
    [problem] = problems(f"listen: {{check: {{{listener}}}}}")
    assert message in problem


@pytest.mark.parametrize(
    ("check", "admin"),
    [
        ("127.0.0.1:8081", None),
        ("localhost:7000", "127.0.0.1:7000"),
        ("[::]:7000", "127.0.0.1:7000"),
        ("unix:/run/x", "unix:///run/x"),
    ],
)
def test_same_address(problems: Callable[..., list[str]], check: str, admin: str | None) -> None:
    """Two listeners can't have one address, in whatever spelling."""
    written = f"admin: {{address: '{admin}'}}" if admin else ""
    [problem] = problems(f"listen: {{check: {{address: '{check}', plaintext: true}}, {written}}}")
    assert "is taken by listen.check" in problem


def test_the_http_listener_takes_no_address_unless_it_is_meant(
    load: Callable[..., Any], problems: Callable[..., list[str]]
) -> None:
    """Its default is in nobody's way; an address that is written is."""
    assert load("listen: {check: {address: '127.0.0.1:8080'}}").listen.http.address == "127.0.0.1:8080"
    [problem] = problems("listen: {check: {address: '127.0.0.1:8080'}, http: {}}")
    assert "listen.http.address: 127.0.0.1:8080 is taken by listen.check" in problem
    [problem] = problems("listen: {http: {address: '127.0.0.1:8081'}}")
    assert "listen.admin.address: 127.0.0.1:8081 is taken by listen.http" in problem


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("check: {tls: {certFile: a, keyFile: b, clientCaFile: c, %s}}", "only listen.http knows who comes without"),
        ("admin: {tls: {certFile: a, keyFile: b, clientCaFile: c, %s}}", "only listen.http knows who comes without"),
        ("http: {tls: {certFile: a, keyFile: b, %s}}", "without clientCaFile no client shows a certificate"),
    ],
)
def test_where_certificates_can_be_optional(problems: Callable[..., list[str]], written: str, told: str) -> None:
    """On the http listener alone, and if there is an authority at all."""
    [problem] = problems(f"listen: {{{written % 'clientCertificates: optional'}}}")
    assert told in problem


def test_client_certificates(load: Callable[..., Any]) -> None:
    """Required unless somebody says otherwise."""
    tls = "certFile: a, keyFile: b, clientCaFile: c"
    assert load(f"listen: {{http: {{tls: {{{tls}}}}}}}").listen.http.tls.client_certificates == "required"
    optional = load(f"listen: {{http: {{tls: {{{tls}, clientCertificates: optional}}}}}}")
    assert optional.listen.http.tls.client_certificates == "optional"


def test_free_ports_do_not_collide(load: Callable[..., Any]) -> None:
    """Port 0 twice is two ports."""
    assert load("listen: {check: {address: 127.0.0.1:0}, admin: {address: 127.0.0.1:0}}")


def test_client_principals(load: Callable[..., Any]) -> None:
    """Which proxies may ask can be said by name."""
    listener: Any = load(
        "listen: {check: {tls: {certFile: a, keyFile: b, clientCaFile: c, clientPrincipals: [spiffe://x/envoy]}}}"
    ).listen.check
    assert listener.tls.client_principals == ("spiffe://x/envoy",)
