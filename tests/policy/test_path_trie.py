"""The trie finds what the patterns, asked one by one, match: no rule too many, and none too few."""

from hypothesis import given
from hypothesis import strategies as st

from extauthz.policy.path_trie import PathTrie
from extauthz.policy.paths import Paths, read_path

SEGMENTS = st.sampled_from(["a", "b", "B", "{x}", "{y}", "c.d"])
PATTERNS = st.lists(
    st.builds(
        lambda segments, end: ("/" + "/".join(segments) if segments else "") + end or "/",
        st.lists(SEGMENTS, max_size=3),
        st.sampled_from(["", "/", "/**"]),
    ).filter(lambda text: "//" not in text),
    min_size=1,
    max_size=8,
)
PATHS = st.builds(
    lambda segments, end: "/" + "/".join(segments) + end,
    st.lists(st.sampled_from(["a", "b", "B", "c.d", "z"]), max_size=4),
    st.sampled_from(["", "/"]),
).map(lambda path: path.replace("//", "/"))


@given(PATTERNS, PATHS, st.booleans(), st.booleans())
def test_the_trie_finds_just_the_patterns_that_match(
    patterns: list[str], path: str, tolerant: bool, fold: bool
) -> None:
    """Each pattern stands for one rule."""
    trie = PathTrie(tolerant=tolerant, fold=fold)
    expected = 0
    asked = path.lower() if fold else path
    for number, text in enumerate(patterns):
        pattern = read_path(text)
        trie.add(pattern, 1 << number)
        if asked in Paths([pattern], tolerant=tolerant, fold=fold):
            expected |= 1 << number
    assert trie.find(asked) == expected


def test_what_has_no_path_is_in_no_pattern() -> None:
    """CONNECT and requests without HTTP have an empty one."""
    trie = PathTrie(tolerant=True, fold=False)
    trie.add(read_path("/**"), 1)
    assert trie.find("") == 0
    assert trie.find("/") == 1
