"""The walk through the token checklist: each of its numbers is attacked by a test that names it, or is out of scope aloud.

A number counts where a test's docstring begins with it, alone or in a list (``T4, T5: ...``). A range would be a way to
claim what nobody looked at, so none is read.
"""

import ast
import re
from collections import defaultdict

import pytest

from tests.conftest import PROJECT

NUMBERS = range(1, 67)
LIST = re.compile(r"[A-Z]\d+(?:, [A-Z]\d+)*(?=:)")


def named() -> dict[int, list[str]]:
    """The tests by the numbers that they name."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted((PROJECT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                listed = LIST.match(ast.get_docstring(node) or "")
                for number in re.findall(r"\bT(\d+)", listed[0] if listed else ""):
                    found[int(number)].append(f"{path.relative_to(PROJECT)}::{node.name}")
    return found


def out_of_scope() -> set[int]:
    """The numbers that docs/security.md calls not applicable, each with its reason."""
    page = (PROJECT / "docs" / "security.md").read_text()
    return {
        int(number) for number in re.findall(r"^\| T(\d+) \| not applicable, because .{20,} \|$", page, re.MULTILINE)
    }


TESTS, ELSEWHERE = named(), out_of_scope()


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"T{number}")
def test_each_number_has_its_test(number: int) -> None:
    """A number of the checklist is named by a test, or docs/security.md says why it does not apply."""
    assert TESTS[number] or number in ELSEWHERE


def test_only_a_few_are_out_of_scope() -> None:
    """What is called not applicable are the bindings of tokens to senders, and signed introspection answers."""
    assert {47, 48, 66} >= ELSEWHERE


def test_the_page_names_each_number() -> None:
    """docs/security.md says of each number what holds."""
    page = (PROJECT / "docs" / "security.md").read_text()
    told: set[int] = set()
    for cell in re.findall(r"^\| (T\d[^|]*) \|", page, re.MULTILINE):
        for first, last in re.findall(r"T(\d+)(?: to T(\d+))?", cell):
            told.update(range(int(first), int(last or first) + 1))
    assert set(NUMBERS) <= told
