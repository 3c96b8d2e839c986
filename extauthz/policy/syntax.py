"""The checked form of a CEL expression as a tree, for what the compiler does not look at.

The binding gives no tree, but it gives the compiled expression as bytes: a ``cel.expr.CheckedExpr``
(https://github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto), in which macros are expanded, literals
are decoded and every part has its place in the source. This reads what is asked for of it from the protobuf wire format,
some forty lines, instead of adding generated classes that only this would use. What it does not know is an error, never a
guess: then the expression is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Call", "Items", "Literal", "Loop", "Name", "Node", "Part", "Tree", "read_tree"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MORE = 0x80


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    id: int
    text: str | None
    """The value of a string; None for any other type."""


@dataclass(frozen=True, slots=True)
class Name:
    """A declared name, or one that a loop binds."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a value: ``operand.field``, or with ``asks`` whether there is one."""

    id: int
    operand: "Node"
    asks: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; what it is called on comes first among its operands."""

    id: int
    function: str
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list or a map that is written out; of a map the keys and the values."""

    id: int
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """What a macro such as ``exists`` or ``map`` expands to."""

    id: int
    variables: tuple[str, ...]
    range: "Node"
    accumulator: str
    start: "Node"
    condition: "Node"
    step: "Node"
    result: "Node"

    @property
    def binds(self) -> bool:
        """It runs over nothing: what ``optMap`` and ``sortBy`` write to give a value a name."""
        return isinstance(self.range, Items) and not self.range.items


Node = Literal | Name | Part | Call | Items | Loop


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression and where its parts stand."""

    root: Node
    offsets: dict[int, int]
    """By a node's id, in code points of the source."""

    def calls(self) -> Iterator[Call]:
        """Each call, in no order."""
        waiting: list[Node] = [self.root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Call):
                yield node
            waiting.extend(_parts(node))


def read_tree(serialized: bytes) -> Tree:
    """Read a compiled expression as the binding serializes it.

    Raises:
        ValueError: It is not of the form that is known.

    """
    try:
        checked = _message(_one(_message(serialized), 2))
        offsets = {}
        for pair in _message(_one(checked, 5)).get(4, ()):
            entry = _message(_bytes(pair))
            offsets[_number(entry, 1)] = _number(entry, 2)
        return Tree(_node(_one(checked, 4)), offsets)
    except (IndexError, KeyError, RecursionError) as error:
        raise ValueError("the compiled expression has an unknown form") from error


def _parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Part(operand=operand):
            return (operand,)
        case Call(operands=nodes) | Items(items=nodes):
            return nodes
        case Loop():
            return node.range, node.start, node.condition, node.step, node.result
    return ()


_Fields = dict[int, list[int | bytes]]


def _node(data: bytes) -> Node:
    fields = _message(data)
    number = _number(fields, 2)
    (kind,) = fields.keys() - {2}
    body = _message(_one(fields, kind))
    match kind:
        case 3:
            texts = body.get(6)
            return Literal(number, _bytes(texts[-1]).decode() if texts else None)
        case 4:
            return Name(number, _one(body, 1).decode())
        case 5:
            return Part(number, _node(_one(body, 1)), asks=_number(body, 3) == 1)
        case 6:
            return Call(number, _one(body, 2).decode(), (*_nodes(body, 1), *_nodes(body, 3)))
        case 7:
            return Items(number, tuple(_nodes(body, 1)))
        case 8:
            entries = [_message(_bytes(entry)) for entry in body.get(2, ())]
            return Items(number, tuple(node for entry in entries for field in (3, 4) for node in _nodes(entry, field)))
        case 9:
            parts = (_node(_one(body, field)) for field in (2, 4, 5, 6, 7))
            range_, start, condition, step, result = parts
            variables = tuple(_one(body, field).decode() for field in (1, 8) if field in body)
            return Loop(number, variables, range_, _one(body, 3).decode(), start, condition, step, result)
    raise ValueError("the compiled expression has a part of an unknown kind")


def _nodes(fields: _Fields, number: int) -> Iterator[Node]:
    return (_node(_bytes(value)) for value in fields.get(number, ()))


def _one(fields: _Fields, number: int) -> bytes:
    return _bytes(fields[number][-1])


def _number(fields: _Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    if isinstance(value, bytes):
        raise ValueError("a number is expected")  # noqa: TRY004 - one error for all that is unknown
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("bytes are expected")  # noqa: TRY004 - as above
    return value


def _message(data: bytes) -> _Fields:
    """The fields of a message by number (https://protobuf.dev/programming-guides/encoding/)."""
    fields: _Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if size is None:
                if kind != _BYTES:
                    raise ValueError("a wire type is unknown")
                size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    if at != len(data):
        raise ValueError("a field ends too late")
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at
        shift += 7
