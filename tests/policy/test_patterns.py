"""Patterns for hosts, methods, ports, principals and addresses."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.policy.patterns import (
    Hosts,
    Networks,
    Principals,
    read_host,
    read_method,
    read_network,
    read_port,
    read_principal,
)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a.example", ["a.example"], ["b.a.example", "xa.example", ""]),
        ("A.Example", ["a.example"], ["example"]),
        ("*.example", ["a.example", "b.a.example"], ["example", ".example.org", "aexample", ""]),
        ("*", ["a.example", "[::1]"], [""]),
        ("[::1]", ["[::1]"], ["::1"]),
    ],
)
def test_a_host_pattern_is_a_name_or_all_names_below_one(pattern: str, matching: list[str], other: list[str]) -> None:
    """`*.x` is one or more labels, never the apex; `*` is any host, but not the absence of one."""
    hosts = Hosts([read_host(pattern)])
    assert [host for host in matching + other if host in hosts] == matching


_BAD_HOSTS = [
    "a:80",
    "a.",
    "*.a:80",
    "a*",
    "*a",
    "*.*",
    "a.*",
    "",
    "*.",
    "é.example",
    "\u212a.example",
    "a,b",
    "user@a",
    "[::1",
]


@pytest.mark.parametrize("bad", [*_BAD_HOSTS, "[0:0::1]", "*.[::1]", 7, None, True])
def test_a_host_pattern_that_no_canonical_host_matches_is_refused(bad: Any) -> None:
    """Ports, final dots, other wildcards and names that are no hosts are told, not ignored."""
    with pytest.raises(ValueError, match=r"."):
        read_host(bad)


_HOST = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(".".join)
_HOST_PATTERN = st.one_of(_HOST, _HOST.map(lambda host: f"*.{host}"), st.just("*"))


@given(_HOST_PATTERN, _HOST_PATTERN, _HOST)
def test_patterns_that_share_a_host_overlap(one: str, other: str, host: str) -> None:
    """Overlap is symmetric, and true for all patterns that some host matches both of."""
    first, second = read_host(one), read_host(other)
    assert first.overlaps(second) == second.overlaps(first)
    if host in Hosts([first]) and host in Hosts([second]):
        assert first.overlaps(second)


def test_patterns_that_share_no_host_do_not_overlap() -> None:
    """Different names, an apex and the names below it, and siblings are apart."""
    for one, other in (("a", "b"), ("a", "*.a"), ("*.a", "*.b"), ("*.a.b", "*.c.b")):
        assert not read_host(one).overlaps(read_host(other))


def test_methods_are_case_sensitive_tokens() -> None:
    """A lower-case method is told how to be written, and `*` is no method."""
    assert read_method("M-SEARCH") == "M-SEARCH"
    with pytest.raises(ValueError, match="write 'GET'"):
        read_method("get")
    for bad in ("*", "", "GET ", "GE\nT", 1):
        with pytest.raises(ValueError, match=r"."):
            read_method(bad)


def test_ports_are_numbers_or_digits() -> None:
    """Istio writes ports as strings; what is outside 1 to 65535 or no number is refused."""
    assert [read_port(443), read_port("443"), read_port(65535)] == [443, 443, 65535]
    for bad in (0, 65536, -1, "0", "http", "٤٤٣", True, 4.0, "", None, "443 "):
        with pytest.raises(ValueError, match=r"."):
            read_port(bad)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("spiffe://t/ns/a/sa/b", ["spiffe://t/ns/a/sa/b"], ["spiffe://t/ns/a/sa/bc", "xspiffe://t/ns/a/sa/b"]),
        ("spiffe://t/ns/a/*", ["spiffe://t/ns/a/sa/b", "spiffe://t/ns/a/"], ["spiffe://t/ns/ab/sa/b", ""]),
        ("*/sa/b", ["spiffe://t/ns/a/sa/b"], ["spiffe://t/ns/a/sa/bc", "O=x,CN=y/sa/b", "x/sa/b", ""]),
        ("CN=a*", ["CN=a,O=x", "CN=alice"], ["cn=a", "O=CN=a"]),
        ("*", ["x"], [""]),
    ],
)
def test_a_principal_is_compared_as_a_whole_or_by_one_end(pattern: str, matching: list[str], other: list[str]) -> None:
    """A prefix, a suffix or `*` for any; never the absence of a principal."""
    principals = Principals([read_principal(pattern)])
    assert [principal for principal in matching + other if principal in principals] == matching


@pytest.mark.parametrize(
    "bad",
    [
        "a*b",
        "**",
        "*a*",
        "",
        1,
        "*.example.com",
        "*b",
        "*,O=x",
        "*/",
        "spiffe://t*",
        "spiffe://t/ns/a/sa/b*",
        "SPIFFE://t/a",
    ],
)
def test_other_stars_in_a_principal_are_refused(bad: Any) -> None:
    """In the middle it is no wildcard; an end that is no end of a SPIFFE ID could stand in a name of another kind (a
    subject holds free text); and what follows a part of a segment belongs to somebody else.
    """
    with pytest.raises(ValueError, match=r"."):
        read_principal(bad)


def test_networks_take_addresses_of_both_families() -> None:
    """An absent address is nowhere."""
    networks = Networks([read_network("10.0.0.0/8"), read_network("2001:db8::/32"), read_network("192.0.2.1")])
    inside = ["10.255.0.1", "2001:db8::1", "192.0.2.1"]
    outside = ["11.0.0.1", "2001:db9::1", "192.0.2.2", "::a00:1"]
    assert [text for text in inside + outside if ip_address(text) in networks] == inside
    assert None not in networks


def test_an_address_block_with_stray_bits_is_refused() -> None:
    """10.0.0.1/8 could mean the block or the address; the error names the block."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8"):
        read_network("10.0.0.1/8")
    with pytest.raises(ValueError, match=r"would never match.*'10\.0\.0\.0/8'"):
        read_network("::ffff:10.0.0.0/104")
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1'"):
        read_network("::ffff:10.0.0.1")
    for bad in ("10.0.0.0/33", "10.0.0", "x", "", "10.0.0.0/8 ", 10, "::1%eth0/128"):
        with pytest.raises(ValueError, match=r"."):
            read_network(bad)
