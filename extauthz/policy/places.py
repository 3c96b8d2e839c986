"""From a place inside a CEL expression to the place in the YAML file that it was written at.

The compiler counts in the expression's own text; the person looks at the file, where the same text stands plain, quoted
with escapes, folded, or as an indented block. All these writings keep the order of the characters that are not white
space. So the n-th such character of the value is the n-th such character of its writing, which is exact without parsing
YAML a second time.
"""

import re
from collections.abc import Iterator

from extauthz.errors import Position

__all__ = ["expression_place"]

_LINE = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_SPACE_ESCAPES = frozenset("tnvfr NLP_\t")
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}


def expression_place(text: str, scalar: Position, value: str, offset: int) -> Position:
    """The place in a YAML text of the character at an offset (in code points) of a scalar's value.

    ``scalar`` is where the scalar begins. An offset past the end gives the place after the last character.
    """
    wanted = sum(not char.isspace() for char in value[:offset])
    place = (scalar.line, scalar.column)
    for count, (line, column, width) in enumerate(_characters(text, scalar)):
        if count == wanted:
            return Position(scalar.file, line, column)
        place = (line, column + width)
        if count + 1 == wanted and not value[offset:].strip():
            break
    return Position(scalar.file, *place)


def _characters(text: str, scalar: Position) -> Iterator[tuple[int, int, int]]:
    """Line, column and width of each character of a scalar that is not white space, in order, and what follows it."""
    lines = _LINE.split(text.removeprefix("\ufeff"))
    first = scalar.line - 1
    column = scalar.column - 1
    quote = lines[first][column : column + 1]
    if quote in ("|", ">"):
        first, column, quote = first + 1, 0, ""
    elif quote in ("'", '"'):
        column += 1
    else:
        quote = ""
    for number in range(first, len(lines)):
        line = lines[number]
        while column < len(line):
            width = _width(line, column, quote)
            if quote and width == 1 and line[column] == quote:
                return
            if not _is_space(line, column, quote):
                yield number + 1, column + 1, width
            column += width
        column = 0


def _width(line: str, column: int, quote: str) -> int:
    """How many characters of the file write one character of the value."""
    if quote == "'" and line[column : column + 2] == "''":
        return 2
    if quote == '"' and line[column] == "\\":
        return 2 + _HEX_ESCAPES.get(line[column + 1 : column + 2], 0)
    return 1


def _is_space(line: str, column: int, quote: str) -> bool:
    """Whether what stands here is white space in the value (or an escaped line break, which is nothing in it)."""
    if quote != '"' or line[column] != "\\":
        return line[column].isspace()
    kind = line[column + 1 : column + 2]
    digits = line[column + 2 : column + 2 + _HEX_ESCAPES.get(kind, 0)]
    if digits:
        return chr(int(digits, 16)).isspace()
    return kind == "" or kind in _SPACE_ESCAPES
