"""What an expression may cost at most: found from its form before it is ever evaluated.

An evaluation can't be interrupted, and the evaluator bounds nothing but the rounds of loops (10,000 in all). Two lines
can make much from little: ``x.map(y, y + y + y).map(...)`` doubles and doubles again, ``replace`` with a header as text
multiplies two headers, ``split`` in a loop makes a list in each round. So every expression with a loop or such a function
is bounded here, in the way of CEL's own cost estimates.

The model: all values of a request together have a size, the *input*. The size of any part of an expression is told as a
sum: so many characters, so many times the input, so many times the element of a loop. The elements of a list together are
no larger than the list, so a loop that works on its elements costs the list once; one that works on something else costs
that in each of its rounds. What a part makes or reads is its work; a list costs more than text. The work of all parts
together is held below two limits. It is a bound and no estimate: some harmless expressions are refused, and the fault says
which part to take out of the loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extauthz.policy.regexes import pattern_parts
from extauthz.policy.sizes import (
    CHARS,
    INPUT,
    NOTHING,
    PIECES,
    ROUNDS,
    Frame,
    Frames,
    Size,
    Work,
    has_pieces,
    larger,
    most,
    terms,
    times,
    total,
)
from extauthz.policy.syntax import Call, Items, Literal, Loop, Name, Node, Part, Tree
from extauthz.policy.vocabulary import SHORT_NAMES

__all__ = ["MAX_CHARACTERS", "MAX_INPUTS", "MAX_LOOPS", "WATCHED", "Excess", "excesses"]

MAX_LOOPS = 8
"""Loops of one expression, written ``all``, ``exists``, ``exists_one``, ``map``, ``filter``, ``sortBy``."""
MAX_INPUTS = 200_000
"""Work of one evaluation, in sizes of the input; one is what comparing two texts of that size costs."""
MAX_CHARACTERS = 1_000_000_000
"""Work of one evaluation that does not depend on the input, in characters."""

_LIST = 240
_REPLACE = 50
_TEXT = 7
_SCAN = 7
"""What a character costs where a list, a replaced text or another text is made of it, or where it is searched."""
_FORMATTED = 1100
"""What one clause of a format may add: a number with the greatest precision."""
_PART = 25
"""What each part of a regular expression costs for each character of the text, at worst."""
_ANY_PATTERN = 25_000
_SHORT: Size = {CHARS: 2048}

_REFUSED = {
    "lists.range": "it makes a list of any length from a number",
    "distinct": "it compares each element with each",
}
_QUICK = frozenset(
    [
        "_&&_",
        "_||_",
        "!_",
        "-_",
        "@not_strictly_false",
        "hasValue",
        "optional.none",
        "inCidr",
        "type",
        "int",
        "uint",
        "double",
        "bool",
        "_-_",
        "_*_",
        "_/_",
        "_%_",
    ]
)
"""Their value has no size, and they take no time worth to be counted."""
_SAME = frozenset(["_[_]", "_?._", "_[?_]", "value", "optional.of", "optional.ofNonZeroValue", "first", "last", "dyn"])
"""Their value is a part of the first operand."""
_SHORTER = frozenset(["_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "startsWith", "endsWith"])
"""They end with the shorter operand; their value has no size."""
_SCANS = frozenset(["@in", "contains", "matches", "indexOf", "lastIndexOf", "size"])
"""They read all; their value has no size."""
_LISTS = frozenset(["split", "sort", "@sortByAssociatedKeys", "reverse", "slice", "flatten"])
"""They make a list from the first operand."""

WATCHED = frozenset(
    [
        "all",
        "exists",
        "exists_one",
        "existsOne",
        "map",
        "filter",
        "sortBy",
        "optMap",
        "optFlatMap",
        "replace",
        "join",
        "format",
        "split",
        "quote",
        "range",
        "distinct",
        "matches",
        "inCidr",
    ]
)
"""Words without which an expression costs what it says: it reads the input as often as it names it."""


@dataclass(frozen=True, slots=True)
class Excess:
    """A part of an expression that costs too much."""

    node: int
    message: str
    hint: str = ""


def excesses(tree: Tree) -> list[Excess]:
    """The parts of an expression with which it costs too much, if it does: the first one past each limit."""
    meter = _Meter()
    meter.size(tree.root, {}, ())
    return meter.found


@dataclass(slots=True)
class _Meter:
    """Adds up the work of an expression."""

    found: list[Excess] = field(default_factory=list)
    _loops: int = 0
    _once: Work = field(default_factory=Work)
    _work_in: dict[str, Work] = field(default_factory=dict)
    """By loop: the work of all its rounds."""
    _round_of: dict[str, Work] = field(default_factory=dict)
    """By loop: the work of one round."""

    def size(self, node: Node, names: Mapping[str, Size], frames: Frames) -> Size:
        """The size of a part's value; its work is added to the sum."""
        match node:
            case Literal(text=text):
                return {CHARS: len(text or "")}
            case Name(name=name):
                return names.get(name) or (_SHORT if name in SHORT_NAMES else {INPUT: 1})
            case Part(operand=operand, asks=asks):
                size = self.size(operand, names, frames)
                return NOTHING if asks else size
            case Items(items=items):
                sizes = [self.size(item, names, frames) for item in items]
                size = total(*sizes, {CHARS: len(items)})
                self._work(node, "a list", {CHARS: _LIST * len(items)}, frames)
                return size
            case Loop():
                return self._loop(node, names, frames)
            case Call():
                return self._call(node, names, frames)

    def _loop(self, loop: Loop, names: Mapping[str, Size], frames: Frames) -> Size:
        start = self.size(loop.start, names, frames)
        if loop.binds:
            return self.size(loop.result, {**names, loop.accumulator: start}, frames)
        self._loops += 1
        if self._loops == MAX_LOOPS + 1:
            self.found.append(Excess(loop.id, f"the expression has more loops than {MAX_LOOPS}"))
        frame = Frame(f"element {loop.id}", _rounds(loop.range), self.size(loop.range, names, frames))
        within = (*frames, frame)
        so_far = f"result {loop.id}"
        inner = {**names, **{name: {frame.symbol: 1} for name in loop.variables}, loop.accumulator: {so_far: 1}}
        if _grows(loop) and frame.rounds == ROUNDS and has_pieces(frame.range, frames):
            message = (
                "'map' and 'filter' of a text that is split could take long: a client chooses how many pieces it has"
            )
            self.found.append(Excess(loop.id, message, "ask with 'exists' or 'all'"))
        self.size(loop.condition, inner, within)
        step = dict(self.size(loop.step, inner, within))
        if step.pop(so_far, 0) > 1:
            self.found.append(Excess(loop.id, "a loop doubles what it makes in each round"))
        elements = step.pop(frame.symbol, 0)
        made = total(start, times(step, frame.rounds), times(frame.range, elements))
        return self.size(loop.result, {**names, loop.accumulator: made}, frames)

    def _call(self, call: Call, names: Mapping[str, Size], frames: Frames) -> Size:
        name = call.function
        sizes = [self.size(operand, names, frames) for operand in call.operands]
        whole = total(*sizes)
        first = sizes[0] if sizes else NOTHING
        if name in _REFUSED:
            self.found.append(Excess(call.id, f"{name!r} is not offered here", _REFUSED[name]))
            return whole
        if name in _QUICK:
            return NOTHING
        if name in _SAME:
            return first
        if name in ("_?_:_", "orValue", "or"):
            return larger(sizes[1:] if name == "_?_:_" else sizes)
        if name in _SHORTER:
            self._work(call, name, min(sizes, key=lambda size: most(size, frames)), frames)
            return NOTHING
        if name in _SCANS:
            self._work(call, name, times(whole, _scan_of(call)), frames)
            return NOTHING
        if name in _LISTS:
            self._work(call, name, times(first, _LIST), frames)
            return total(first, {PIECES: 1}) if name == "split" and first.keys() - {CHARS} else first
        made = self._made(call, first, whole)
        self._work(call, name, times(larger([first, made]), _REPLACE if name == "replace" else _TEXT), frames)
        return made

    def _made(self, call: Call, first: Size, whole: Size) -> Size:
        """The size of a text, or of whatever else, that a function makes from its operands."""
        texts = [operand.text if isinstance(operand, Literal) else None for operand in call.operands]
        match call.function:
            case "replace":
                old, new = texts[1], texts[2]
                if old is None or new is None:
                    return self._unwritten(call, "both texts")
                return times(first, len(new) + 1 if not old else max(1, -(-len(new) // len(old))))
            case "join" if len(texts) > 1:
                if texts[1] is None:
                    return self._unwritten(call, "the separator")
                return times(first, 1 + len(texts[1]))
            case "format":
                if texts[0] is None:
                    return self._unwritten(call, "the format")
                return total(whole, {CHARS: _FORMATTED * texts[0].count("%")})
            case "strings.quote":
                return total(times(whole, 2), {CHARS: 2})
        return whole

    def _unwritten(self, call: Call, what: str) -> Size:
        message = (
            f"{call.function!r} takes {what} only as literals: what a request says could make it grow without bound"
        )
        self.found.append(Excess(call.id, message))
        return NOTHING

    def _work(self, node: Call | Items, name: str, size: Size, frames: Frames) -> None:
        before = self._excessive()
        for unit, rounds in terms(size, frames):
            if rounds == 1:
                self._once = self._once.plus(unit, 1)
            else:
                inmost = frames[-1].symbol
                self._work_in[inmost] = self._work_in.get(inmost, Work()).plus(unit, rounds)
                self._round_of[inmost] = self._round_of.get(inmost, Work()).plus(unit, 1)
        if self._excessive() and not before:
            self.found.append(
                Excess(
                    node.id,
                    f"{name!r} here can make the expression cost too much",
                    "take it out of the loop, or loop over a list that is written out",
                )
            )

    def _excessive(self) -> bool:
        """All loops of a run share the evaluator's rounds, so they cost no more than if the dearest took them all."""
        loops, rounds = self._work_in.values(), self._round_of.values()
        inputs = min(sum(work.inputs for work in loops), ROUNDS * max((work.inputs for work in rounds), default=0))
        characters = min(
            sum(work.characters for work in loops), ROUNDS * max((work.characters for work in rounds), default=0)
        )
        return self._once.inputs + inputs > MAX_INPUTS or self._once.characters + characters > MAX_CHARACTERS


def _scan_of(call: Call) -> int:
    """What a scan costs for each character; a pattern that comes with the request may be any."""
    if call.function != "matches":
        return _SCAN
    pattern = call.operands[-1]
    if isinstance(pattern, Literal) and pattern.text is not None:
        return _PART * pattern_parts(pattern.text)
    return _ANY_PATTERN


def _grows(loop: Loop) -> bool:
    """Whether a loop makes a list. The evaluator copies what it has so far in each round: 8,000 rounds take 1 GB."""
    return isinstance(loop.start, Items)


def _rounds(node: Node) -> int:
    """How often a loop over a value turns at most."""
    if isinstance(node, Items):
        return len(node.items)
    if isinstance(node, Loop) and isinstance(node.start, Items) and not node.binds:
        return _rounds(node.range)
    return ROUNDS
