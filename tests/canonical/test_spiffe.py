"""SPIFFE IDs: what is one, what only looks like one, and the patterns over them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.canonical import looks_like_spiffe, read_spiffe_id, read_spiffe_pattern, trust_domain_name

WEB = "spiffe://cluster.local/ns/shop/sa/web"

BAD = [
    "",
    "spiffe://",
    "spiffe://cluster.local",
    "spiffe://cluster.local/",
    "spiffe:///ns/shop",
    "SPIFFE://cluster.local/ns/shop",
    "Spiffe://cluster.local/a",
    "spiffe:/cluster.local/a",
    "spiffe://Cluster.local/a",
    "spiffe://cluster.local:443/a",
    "spiffe://user@cluster.local/a",
    "spiffe://cluster.local/a?b",
    "spiffe://cluster.local/a#b",
    "spiffe://cluster.local/a;b",
    "spiffe://cluster.local/%61",
    "spiffe://cluster.local/a//b",
    "spiffe://cluster.local/a/",
    "spiffe://cluster.local/./a",
    "spiffe://cluster.local/a/../b",
    "spiffe://cluster.local/a/..",
    "spiffe://cluster.local/ns/shop/sa/wéb",
    "spiffe://cluster.local/ns/shop/sa/web\n",
    "spiffe://cluster.local/ns/shop/sa/web\0",
    " spiffe://cluster.local/ns/shop/sa/web",
    "https://cluster.local/ns/shop/sa/web",
    "cluster.local/ns/shop/sa/web",
    "CN=spiffe://cluster.local/ns/shop/sa/web",
    f"spiffe://{'a' * 256}/x",
    f"spiffe://cluster.local/{'a' * 2048}",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_in_the_one_form_is_no_spiffe_id(text: str) -> None:
    """E39: no port, user, query, fragment, per cent sign, dot segment, empty segment; at most 2048 bytes."""
    assert read_spiffe_id(text) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (WEB, ("cluster.local", "/ns/shop/sa/web", "shop", "web")),
        ("spiffe://td_1-x.example/a", ("td_1-x.example", "/a", "", "")),
        ("spiffe://td/ns/shop/sa/web/more", ("td", "/ns/shop/sa/web/more", "", "")),
        ("spiffe://td/x/ns/shop/sa/web", ("td", "/x/ns/shop/sa/web", "", "")),
        ("spiffe://td/...", ("td", "/...", "", "")),
        ("spiffe://td/" + "a" * 2036, ("td", "/" + "a" * 2036, "", "")),
    ],
)
def test_an_id_has_a_trust_domain_and_perhaps_a_service_account(text: str, parts: tuple[str, str, str, str]) -> None:
    """Namespace and service account are told only of a path that has these four segments and no other."""
    found = read_spiffe_id(text)
    assert found is not None
    assert (found.trust_domain, found.path, found.namespace, found.service_account) == parts


@pytest.mark.parametrize("text", ["spiffe://x", "SPIFFE:x", " \tSpiffe://x", "spiffe:"])
def test_what_begins_like_an_id_looks_like_one(text: str) -> None:
    """E39: it is never taken for a name of another kind."""
    assert looks_like_spiffe(text)


@pytest.mark.parametrize("text", ["CN=spiffe://x", "web.example.com", "https://x", "", "spiff", "xspiffe://a/b"])
def test_other_names_do_not(text: str) -> None:
    """A subject always begins with the type of an attribute."""
    assert not looks_like_spiffe(text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["spiffe://a/b", WEB], []),
        (WEB, [WEB], [WEB + "2", WEB + "/x"]),
        ("spiffe://cluster.local/*", [WEB], ["spiffe://cluster.local.evil/x"]),
        (
            "spiffe://cluster.local/ns/shop/sa/*",
            [WEB],
            ["spiffe://cluster.local/ns/shop2/sa/web", "spiffe://other/ns/shop/sa/web"],
        ),
        ("*/sa/web", [WEB, "spiffe://other/ns/x/sa/web"], ["spiffe://a/ns/x/sa/evil-web", "spiffe://a/ns/x/sa/web2"]),
    ],
)
def test_patterns_stand_for_whole_segments(pattern: str, yes: list[str], no: list[str]) -> None:
    """A name that only begins or ends alike is another one."""
    found = read_spiffe_pattern(pattern)
    assert found is not None
    assert [text for text in yes if not found.matches(text)] == []
    assert [text for text in no if found.matches(text)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "*web",
        "*.local/a",
        "spiffe://cluster.local/ns/shop*",
        "spiffe://cluster.local*",
        "spiffe://*",
        "spiffe://*/ns/shop/sa/web",
        "spiffe://cluster.local/*/sa/web",
        "cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/../*",
        "*/..",
        "*/",
        "*/a*",
        "admin",
        "spiffe://Cluster.local/*",
    ],
)
def test_other_stars_are_no_patterns(pattern: str) -> None:
    """A pattern that would cover neighbours by accident does not exist."""
    assert read_spiffe_pattern(pattern) is None


@pytest.mark.parametrize(("name", "fine"), [("cluster.local", True), ("a_b-c", True), ("", False), ("A", False)])
def test_trust_domains_are_lower_case(name: str, *, fine: bool) -> None:
    """As the specification has them."""
    assert trust_domain_name(name) is fine


@given(st.text(alphabet="spife:/.-_aA%*?\0 ", max_size=30))
def test_an_id_is_its_own_pattern_and_nothing_else_is_one(text: str) -> None:
    """Without a star, patterns and IDs are the same texts."""
    for candidate in (text, f"spiffe://td/{text}"):
        if "*" not in candidate:
            assert (read_spiffe_pattern(candidate) is None) == (read_spiffe_id(candidate) is None)
