"""The canonical path: one spelling each, a refusal where servers differ (I4)."""

import json
import re
import string
from pathlib import Path as File

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz.canonical import PathRules, canonical_path
from extauthz.canonical import path as path_room

ACCEPT_ALL = PathRules(normalize=True, encoded_slash=True, double_encoding=True, parameters=True)
URL_VECTORS = File(__file__).parents[1] / "vectors" / "urls" / "urltestdata.json"

SEGMENT = st.text(alphabet=string.ascii_letters + string.digits + "-._~!$&'()*+,=:@", min_size=1).filter(
    lambda segment: segment not in {".", ".."}
)
RAW_PATH = st.lists(
    st.sampled_from([*"/.%;\\?#aA2fF5cC0eE3bB ", "é", "\t", "%2f", "%2e", "%252e", "..", "%3b"]), max_size=24
).map(lambda parts: "/" + "".join(parts))


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("/", "/"),
        ("/orders/42", "/orders/42"),
        ("/orders/", "/orders/"),
        ("/%61dmin", "/admin"),
        ("/A/%41%7e", "/A/A~"),
        ("/x%24y", "/x$y"),
        ("/%C3%a9", "/%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%3fb%23c", "/a%3Fb%23c"),
        ("/x|y", "/x%7Cy"),
        ("/...", "/..."),
        ("/.well-known/jwks.json", "/.well-known/jwks.json"),
    ],
)
def test_each_path_has_one_spelling(raw: str, canonical: str) -> None:
    """What may stand in a segment stands there as itself, the rest as %XX in upper case."""
    assert canonical_path(raw).text == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "/a/../b",
        "/a/%2e%2E/b",
        "/a/.%2e/b",
        "/..",
        "/a/.",
        "/a//b",
        "//admin",
        "/a%2fb",
        "/a%2Fb",
        "/a/..%2fb",
        "/a%5cb",
        "/a\\b",
        "/a%252fb",
        "/a%25%32%66b",
        "/100%25",
        "/a/..;/b",
        "/a/%2e%2e;/b",
        "/a;p=1/b",
        "/admin;x",
        "/a/..%3b/b",
        "/admin%3Bx",
        "/a%00",
        "/a%0d%0ab",
        "/a%7f",
        "/a\tb",
        "/a b",
        "/a\x00",
        "/é",
        "/%c0%ae%c0%ae/b",
        "/%ff",
        "/%ed%a0%80",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a#b",
        "/a?b",
        "admin",
        "*",
        "",
        "http://evil.example/a",
    ],
)
def test_what_servers_read_differently_is_refused(raw: str) -> None:
    """No ambiguous path has a canonical form, and the fault says why."""
    path = canonical_path(raw)
    assert path.text == ""
    assert path.fault


@pytest.mark.parametrize(
    ("raw", "rules", "canonical"),
    [
        ("/a/../b", PathRules(normalize=True), "/b"),
        ("/../b", PathRules(normalize=True), "/b"),
        ("/a/./b/..", PathRules(normalize=True), "/a/"),
        ("//a//b//", PathRules(normalize=True), "/a/b/"),
        ("/a%2fb", PathRules(encoded_slash=True), "/a%2Fb"),
        ("/100%25", PathRules(double_encoding=True), "/100%25"),
        ("/a;p=1/b;q", PathRules(parameters=True), "/a/b"),
        ("/a%3bp/b", PathRules(parameters=True), "/a/b"),
    ],
)
def test_what_the_operator_accepts_is_judged_in_one_way(raw: str, rules: PathRules, canonical: str) -> None:
    """Each rule accepts one kind of ambiguity, in a stated reading."""
    assert canonical_path(raw, rules).text == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/..%2fb",
        "/a/%2e%2e%2f",
        "/a/..%3b/b",
        "/;x/b",
        "/public;x%2f..%2fa",
        "/a;%2F..",
        "/a;..",
        "/a%3b.;b",
        "/a//../b",
        "/a///../../b",
        "//..",
        "/a//%2e%2e",
    ],
)
def test_hidden_dot_segments_are_refused_whatever_is_accepted(raw: str) -> None:
    """A dot segment behind parameters or encoded slashes is an attack (CVE-2026-73551), never a spelling; one that takes an
    empty segment away leads elsewhere for those who merge slashes first.
    """
    assert canonical_path(raw, ACCEPT_ALL).fault


@given(st.lists(SEGMENT, max_size=5), st.sampled_from(["", "/"]))
def test_plain_paths_stay_as_they_are(segments: list[str], end: str) -> None:
    """A path of plain segments is its own canonical form, with or without a final slash."""
    raw = "/" + "/".join(segments) + (end if segments else "")
    assert canonical_path(raw).text == raw


@given(RAW_PATH, st.builds(PathRules, st.booleans(), st.booleans(), st.booleans(), st.booleans()))
@example("/a/%2e%2e;/b", ACCEPT_ALL)
def test_a_canonical_path_is_canonical(raw: str, rules: PathRules) -> None:
    """The form is stable, begins with a slash, and has no dot or empty segments, parameters or plain oddities."""
    path = canonical_path(raw, rules)
    if path.fault:
        assert path.text == ""
        return
    assert canonical_path(path.text, rules) == path
    assert path.text.startswith("/")
    segments = path.text.split("/")[1:]
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]
    assert not set(path.text) - set(string.ascii_letters + string.digits + "-._~!$&'()*+,=:@/%")


@given(RAW_PATH)
def test_strict_rules_only_change_spelling(raw: str) -> None:
    """Without accepted ambiguities a canonical path has as many segments as its raw form."""
    path = canonical_path(raw)
    if not path.fault:
        assert path.text.count("/") == raw.count("/")


@given(st.text())
def test_no_text_raises(raw: str) -> None:
    """Whatever arrives has a canonical form or a fault, never an exception."""
    path = canonical_path(raw, ACCEPT_ALL)
    assert bool(path.text) != bool(path.fault)


def test_the_url_standard_reads_accepted_paths_the_same_way() -> None:
    """Where WHATWG URL parsing (what browsers and many clients do) makes another path of it, the path is refused."""
    accepted = 0
    for case in json.loads(URL_VECTORS.read_text()):
        if not isinstance(case, dict) or "pathname" not in case or not case["protocol"].startswith("http"):
            continue
        absolute = re.fullmatch(r"https?://[^/?#\\@]+(/[^?#]*)", case["input"])
        if not absolute:
            continue
        path = canonical_path(absolute[1])
        if not path.fault:
            accepted += 1
            assert path == canonical_path(case["pathname"])
    assert accepted > 10


@given(RAW_PATH, st.lists(st.booleans(), min_size=4, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_what_is_remembered_of_a_path_is_remembered_for_its_rules_alone(
    raw: str, first: list[bool], then: list[bool]
) -> None:
    """What one operator accepts is not accepted for another one that asks about the same path."""
    rules = [PathRules(*first), PathRules(*then)]
    remembered = [canonical_path(raw, rule) for rule in (*rules, *rules)]
    assert remembered == [path_room._read(raw, rule) for rule in (*rules, *rules)]


def test_a_flood_of_made_up_paths_fills_no_memory() -> None:
    """As many short ones are remembered as there is room for, and no long one (I7)."""
    room = path_room._remembered.cache_info().maxsize
    assert room is not None
    for number in range(2 * room):
        assert canonical_path(f"/{number}").text == f"/{number}"
    before = path_room._remembered.cache_info()
    assert before.currsize <= room
    assert canonical_path("/" + "x" * path_room._SHORT).text
    assert path_room._remembered.cache_info() == before
