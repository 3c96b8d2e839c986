"""Path patterns: what they match, and which of them are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.canonical import canonical_path
from extauthz.policy.paths import Paths, read_path

PATHS = ["/", "/x", "/x/", "/X", "/x/y", "/x/y/", "/x/y/z", "/xy", ""]


def matched(pattern: str, *, tolerant: bool = False, fold: bool = False) -> list[str]:
    known = Paths([read_path(pattern)], tolerant=tolerant, fold=fold)
    return [path for path in PATHS if (path.lower() if fold else path) in known]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/", ["/"]),
        ("/x", ["/x"]),
        ("/x/", ["/x/"]),
        ("/{id}", ["/x", "/X", "/xy"]),
        ("/{id}/", ["/x/"]),
        ("/x/{id}", ["/x/y"]),
        ("/{a}/y/{b}", ["/x/y/z"]),
        ("/x/**", ["/x", "/x/", "/x/y", "/x/y/", "/x/y/z"]),
        ("/x/{id}/**", ["/x/y", "/x/y/", "/x/y/z"]),
        ("/**", ["/", "/x", "/x/", "/X", "/x/y", "/x/y/", "/x/y/z", "/xy"]),
    ],
)
def test_a_pattern_matches_exactly_the_paths_that_it_describes(pattern: str, expected: list[str]) -> None:
    """Literals, one-segment variables and a final /** mean what docs/policies.md says, and never an absent path."""
    assert matched(pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("/x", ["/x", "/x/"]), ("/x/", ["/x/"]), ("/", ["/"]), ("/x/{id}", ["/x/y", "/x/y/"])],
)
def test_a_tolerant_pattern_also_matches_one_final_slash(pattern: str, expected: list[str]) -> None:
    """What forbids /x covers /x/ as well."""
    assert matched(pattern, tolerant=True) == expected


def test_folded_patterns_ignore_the_case_of_letters() -> None:
    """With caseInsensitivePaths both sides are compared in lower case, variables included."""
    assert matched("/X", fold=True) == ["/x", "/X"]
    assert matched("/X/{id}/**", fold=True) == ["/x/y", "/x/y/", "/x/y/z"]


@pytest.mark.parametrize(
    ("pattern", "mend"),
    [
        ("/x*", "'{name}'.*'/\\*\\*'"),
        ("/x/*", "'{name}'.*'/\\*\\*'"),
        ("/**/x", "'{name}'.*'/\\*\\*'"),
        ("/{*}", "'{name}'.*'/\\*\\*'"),
        ("*", "does not begin"),
        ("", "does not begin"),
        ("x", "does not begin"),
        ("/%61dmin", "write '/admin'"),
        ("/a%2fb", "write '/a%2Fb'"),
        ("/{id}/%41/**", "write '/{id}/A/\\*\\*'"),
        ("/a//b", "empty segment"),
        ("//**", "empty segment"),
        ("/a/", None),
        ("/a/../b", "dot segment"),
        ("/a/.", "dot segment"),
        ("/a;v=1", "parameters"),
        ("/a?b=c", "query"),
        ("/a#b", "fragment"),
        ("/a\\b", "backslash"),
        ("/é", "not ASCII"),
        ("/x{id}", "whole segment"),
        ("/{}", "whole segment"),
    ],
)
def test_a_pattern_that_no_canonical_path_matches_is_refused_with_the_right_spelling(
    pattern: str, mend: str | None
) -> None:
    """A pattern in another spelling would be a deny that never denies."""
    if mend is None:
        read_path(pattern)
        return
    with pytest.raises(ValueError, match=mend):
        read_path(pattern)


_SEGMENT = st.text(alphabet="ab.%4*{};", min_size=0, max_size=4)


@settings(max_examples=300)
@given(st.lists(st.one_of(_SEGMENT, st.sampled_from(["{id}", "a", "b"])), max_size=4), st.booleans())
def test_every_literal_that_is_accepted_is_its_own_canonical_form(segments: list[str], rest: bool) -> None:
    """Whatever text comes in: an accepted pattern is matched by a canonical path, itself with variables filled in."""
    text = "/" + "/".join(segments) + ("/**" if rest else "")
    try:
        pattern = read_path(text)
    except ValueError:
        return
    example = "".join("/v" if segment is None else f"/{segment}" for segment in pattern.segments) or "/"
    if "%2F" not in example and "%25" not in example:
        assert canonical_path(example).text == example
    assert example in Paths([pattern], tolerant=False, fold=False)


def _naive(pattern: str, path: str, *, tolerant: bool) -> bool:
    """The specification once more, as slow and plain as can be."""
    rest = pattern.endswith("/**")
    wanted = (pattern[:-3] if rest else pattern).split("/")[1:]
    given_ = path.split("/")[1:]
    head = given_[: len(wanted)]
    if len(head) < len(wanted) or not all(
        (part != "" if want.startswith("{") else part == want) for want, part in zip(wanted, head, strict=True)
    ):
        return False
    tail = given_[len(wanted) :]
    return tail == [] or rest or (tolerant and tail == [""] and wanted[-1] != "")


_PATH = st.lists(st.sampled_from(["a", "b", "cc"]), max_size=4).flatmap(
    lambda parts: st.sampled_from(["/" + "/".join(parts), "/" + "".join(f"{part}/" for part in parts)])
)
_PATTERN = st.tuples(
    st.lists(st.sampled_from(["a", "b", "cc", "{x}"]), max_size=3), st.sampled_from(["", "/", "/**"])
).map(lambda parts: ("".join(f"/{part}" for part in parts[0]) + parts[1]) or "/")


@settings(max_examples=500)
@given(_PATTERN, _PATH, st.booleans())
def test_matching_agrees_with_a_naive_matcher(pattern: str, path: str, tolerant: bool) -> None:
    """The compiled matcher and a segment-by-segment reading of the specification give the same answer."""
    assert (path in Paths([read_path(pattern)], tolerant=tolerant, fold=False)) == _naive(
        pattern, path, tolerant=tolerant
    )
