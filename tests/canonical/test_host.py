"""The canonical host, and what is not one host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.canonical import canonical_host


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("orders.example.com", "orders.example.com"),
        ("Orders.EXAMPLE.com:8443", "orders.example.com"),
        ("example.com.", "example.com"),
        ("example.com.:80", "example.com"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[2001:DB8:0::1]:443", "[2001:db8::1]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("my_service.local", "my_service.local"),
    ],
)
def test_each_host_has_one_spelling(raw: str, canonical: str) -> None:
    """Case, port and final dot do not make another host."""
    assert canonical_host(raw).text == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        ":80",
        "a.example,b.example",
        "user@example.com",
        "exa mple.com",
        "example.com:",
        "example.com:http",
        "example.com:99999",
        "a..b",
        "example.com..",
        "-a.example",
        "bücher.example",
        "\u212a.example",
        "example.com/x",
        "exam%70le.com",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%25eth0]",
        "[1.2.3.4]",
        "a" * 64 + ".example",
        ".".join(["a" * 63] * 5),
        "example.com\n",
        "example.com\x00",
        "127.1",
        "127.0.0.01",
        "256.0.0.1",
        "1.2.3.4.5",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "a.0x",
        "orders.7",
    ],
)
def test_what_is_not_one_host_is_refused(raw: str) -> None:
    """Lists, user information, odd ports, zones, characters that no host name has and addresses in other spellings give a
    fault.
    """
    host = canonical_host(raw)
    assert host.text == ""
    assert host.fault


@given(st.text(max_size=40))
def test_a_canonical_host_is_canonical(raw: str) -> None:
    """The form is stable, and every text gives a host or a fault."""
    host = canonical_host(raw)
    assert bool(host.text) != bool(host.fault)
    if host.text:
        assert canonical_host(host.text) == host
