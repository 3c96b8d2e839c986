"""YAML 1.2 as people mean it, with places that an editor can open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.documents import read_documents
from extauthz.errors import Position


def problems_of(text: str) -> list[str]:
    """The problems of a text, as lines."""
    return [str(problem) for problem in read_documents(text, "file.yaml")[1]]


def test_scalars_follow_yaml_1_2() -> None:
    """``on``, ``NO`` and ``12:30`` are strings; numbers, booleans and null are what they look like."""
    documents, problems = read_documents("[on, NO, yes, 12:30, 0123, 0o17, 0x1f, 1.5, true, ~, '1', 1e3]", "f")
    assert problems == []
    assert documents[0].value == ["on", "NO", "yes", "12:30", 123, 15, 31, 1.5, True, None, "1", 1000.0]


def test_empty_documents_are_left_out() -> None:
    """A file of comments and separators holds no document."""
    assert read_documents("# nothing\n---\n---\n", "f") == ([], [])


def test_values_know_where_they_were_written() -> None:
    """A path of keys and indexes leads to a line and a column."""
    document = read_documents("a: 1\nb:\n- x\n- {c: 3}\n", "f")[0][0]
    assert document.where(("b", 1, "c")) == Position("f", 4, 7)
    assert document.where(("b", 1, "c"), key=True) == Position("f", 4, 4)


def test_a_path_that_does_not_exist_leads_to_its_last_part_that_does() -> None:
    """A missing key is shown at the mapping that lacks it."""
    document = read_documents("a:\n  b: 1\n", "f")[0][0]
    assert document.where(("a", "z", 4)) == Position("f", 2, 3)


def test_a_repeated_key_is_a_problem() -> None:
    """The last value never wins in silence."""
    assert problems_of("a: 1\nb: 2\na: 3\n") == ["file.yaml:3:1: key 'a' is already given on line 1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x\n", "anchors and aliases"),
        ("a: !!python/object:os.system x\n", "tag"),
        ("a: !!str 1\n", "tag"),
        ("base: {x: 1}\nb: {<<: 1}\n", "merge keys"),
        ("? [a]\n: 1\n", "a key must be a word"),
        ("a: [1,\n", "not valid YAML"),
        ("a: \x07\n", "U+0007"),
        ("- " * 200 + "x", "nested more than"),
        ("[" * 200, "nested more than"),
        ("a: &x rules\n*x : 1\n", "anchors and aliases"),
        ("!!str a: 1\n", "tag"),
    ],
)
def test_what_hides_meaning_is_refused(text: str, words: str) -> None:
    """Aliases, tags, merge keys, control characters and deep nesting are problems with a place."""
    problems = problems_of(text)
    assert words in problems[0]
    assert problems[0].startswith("file.yaml:")


def test_all_problems_are_told_at_once() -> None:
    """One run shows everything that is wrong."""
    assert len(problems_of("a: 1\na: 2\nb: !x 1\nc: {d: 1, d: 2}\n")) == 3


def test_an_alias_bomb_is_refused_in_no_time() -> None:
    """References can't multiply: the second use of a node is a problem and is not walked."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 8) + "]" for n in range(1, 12)]
    assert "anchors and aliases" in problems_of("\n".join(lines))[0]


@pytest.mark.parametrize("part", ["[", "{a: ", "- ", "? "])
def test_a_file_of_brackets_does_not_end_the_process(part: str) -> None:
    """The parser builds its tree by recursion in C: depth is refused before the stack is used up."""
    assert "nested more than" in problems_of("a: 1\n---\n" + part * 100_000)[0]


@given(st.text())
def test_no_text_raises(text: str) -> None:
    """Whatever is in a file gives documents or problems."""
    documents, problems = read_documents(text, "f")
    assert isinstance(documents, list)
    assert all(problem.where.file == "f" for problem in problems)
