"""YAML 1.2 documents with positions.

PyYAML's C parser does the reading (10,000 policy rules take it about a second; pure-Python parsers that keep positions
take twenty), but PyYAML resolves scalars by YAML 1.1, where ``on``, ``NO`` and ``12:30`` are not strings, and keeps the
last of two equal keys in silence. So only its node tree is used: scalars are resolved here by the YAML 1.2 core schema
(https://yaml.org/spec/1.2.2/#103-core-schema) and a repeated key is a problem. Anchors, aliases and merge keys are
refused: they let a small file grow without bound and make a policy say what its text does not show. So are tags.

A document keeps its node tree and finds a position by walking it, so positions cost nothing until something is wrong.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs leave it out

from extauthz.errors import Position, Problem

__all__ = ["Document", "read_documents"]

_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_PREFIXED = re.compile(r"(?:0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15})\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z")
_SPECIAL_FLOAT = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What https://yaml.org/spec/1.2.2/#51-character-set does not count as printable."""
_MAX_DEPTH = 64

_UNTAGGED = ""


class _Parser(CParser):
    """PyYAML's C parser up to the node tree, with a mark instead of YAML 1.1's guess where no tag was written.

    It builds the tree by recursion in C, where depth would end the process, so depth is counted here.
    """

    depth = 0

    def resolve(self, _kind: object, _value: object, _implicit: object) -> str:
        """Say that no tag was written: what a plain scalar means is decided by ``_scalar``."""
        return _UNTAGGED

    def descend_resolver(self, node: yaml.Node | None, _index: object) -> None:
        """Go one level down."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            mark = None if node is None else node.start_mark
            raise yaml.MarkedYAMLError(problem=f"nested more than {_MAX_DEPTH} levels deep", problem_mark=mark)

    def ascend_resolver(self) -> None:
        """Come back up."""
        self.depth -= 1


class Document:
    """One YAML document: plain values, and where each of them was written."""

    def __init__(self, value: Any, node: yaml.Node | None, file: str) -> None:
        """Keep the value and the tree it came from."""
        self.value = value
        self.file = file
        self._node = node

    def where(self, path: Sequence[str | int] = (), *, key: bool = False) -> Position:
        """The place of the value at a path of keys and indexes, or of the deepest part of the path that exists.

        With ``key`` it is the place of the last key itself rather than of its value.
        """
        node = self._node
        found = node
        for step in path:
            key_node, value_node = _child(node, step)
            if value_node is None:
                break
            node = value_node
            found = key_node if key and key_node is not None else value_node
        return _position(found, self.file)


def read_documents(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """Read all documents of a YAML text; empty documents are left out.

    Returns the documents and the problems. A text that can't be parsed gives the problem of its first fault and the
    documents before it; the others are told all at once.
    """
    bad = _FORBIDDEN.search(text.removeprefix("\ufeff"))
    if bad:
        place = Position(file, text.count("\n", 0, bad.start()) + 1, bad.start() - text.rfind("\n", 0, bad.start()))
        return [], [Problem(place, f"character U+{ord(bad.group()):04X} is not allowed in YAML")]
    problems: list[Problem] = []
    documents: list[Document] = []
    parser = _Parser(text)
    try:
        while parser.check_node():
            node = parser.get_node()
            if node is None:
                break
            builder = _Builder(file)
            value = builder.build(node)
            problems += builder.problems
            if value is not None:
                documents.append(Document(value, node, file))
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(error, file))
    finally:
        parser.dispose()
    return documents, problems


class _Builder:
    """Plain values from a node tree, with all that is wrong on the way."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._seen: set[int] = set()

    def build(self, node: yaml.Node) -> Any:
        """The value of a node."""
        if self._refused(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.style else _scalar(node.value)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        return [self.build(item) for item in node.value]

    def _refused(self, node: yaml.Node) -> bool:
        """Whether a key or value is written in a way that is not allowed."""
        if id(node) in self._seen:
            # The parser gives an alias as the very node that it stands for.
            self._problem(node, "anchors and aliases are not allowed", "write the value out at both places")
            return True
        self._seen.add(id(node))
        if node.tag != _UNTAGGED:
            self._problem(node, f"tag {node.tag} is not allowed", "write the value without a tag")
            return True
        return False

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if self._refused(key_node):
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, "a key must be a word, not a list or a mapping")
            elif key_node.value == "<<" and not key_node.style:
                self._problem(key_node, "merge keys (<<) are not part of YAML 1.2", "write the keys out")
            elif key_node.value in lines:
                self._problem(key_node, f"key {key_node.value!r} is already given on line {lines[key_node.value]}")
            else:
                lines[key_node.value] = key_node.start_mark.line + 1
                result[key_node.value] = self.build(value_node)
        return result

    def _problem(self, node: yaml.Node, message: str, hint: str = "") -> None:
        self.problems.append(Problem(_position(node, self._file), message, hint))


def _scalar(text: str) -> Any:
    """Resolve a plain scalar by the YAML 1.2 core schema; a number too long to be meant as one stays a string."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        return int(text)
    if _PREFIXED.match(text):
        return int(text, base=0)
    if _SPECIAL_FLOAT.match(text):
        return float(text.replace(".", "", 1))
    if _FLOAT.match(text):
        return float(text)
    return text


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The key node (None in a list) and value node at one step of a path."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == step:
                return key_node, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and 0 <= step < len(node.value):
        return None, node.value[step]
    return None, None


def _position(node: yaml.Node | None, file: str) -> Position:
    if node is None:
        return Position(file)
    return Position(file, node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    """A parser's complaint as a problem."""
    mark = error.problem_mark or error.context_mark
    where = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
    text = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(where, f"not valid YAML: {text}")
