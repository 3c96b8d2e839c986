"""Sizes of values that nobody has seen yet: sums of characters, of the input, and of elements of loops.

The arithmetic of ``extauthz.policy.costs``. A size is a mapping from symbols to how often each counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

__all__ = [
    "CHARS",
    "INPUT",
    "NOTHING",
    "PIECES",
    "ROUNDS",
    "Frame",
    "Frames",
    "Size",
    "Work",
    "has_pieces",
    "larger",
    "most",
    "terms",
    "times",
    "total",
]

ROUNDS = 10_000
"""The evaluator's own bound on all loops of a run."""
CHARS, INPUT, PIECES = "", "input", "pieces"
"""Symbols of a size. The last one has no size: it marks lists whose length a client chooses by a text that is split."""

Size = Mapping[str, int]
NOTHING: Size = {}


@dataclass(frozen=True, slots=True)
class Frame:
    """A loop around a part: the symbol of its element, its rounds, and the size of what it runs over."""

    symbol: str
    rounds: int
    range: Size


Frames = tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """Work, or a size without elements: so often the input, and so many characters."""

    inputs: int = 0
    characters: int = 0

    def plus(self, other: "Work", times: int) -> "Work":
        return Work(self.inputs + times * other.inputs, self.characters + times * other.characters)


def terms(size: Size, frames: Frames) -> Iterator[tuple[Work, int]]:
    """A size in a loop as products: what is worked on in one round, or on all elements, and how often at most."""
    for symbol, count in size.items():
        others = [frame.rounds for frame in frames if frame.symbol != symbol]
        yield _absolute({symbol: count}, frames), min(ROUNDS, prod(others))


def most(size: Size, frames: Frames) -> tuple[int, int]:
    """By what sizes are compared: the work on them in all rounds."""
    work = Work()
    for unit, rounds in terms(size, frames):
        work = work.plus(unit, rounds)
    return work.inputs, work.characters


def _absolute(size: Size, frames: Frames) -> Work:
    """A size without elements: one of a loop is at most all that the loop runs over.

    What a loop has made so far is in no frame; adding to it does not make it again.
    """
    ranges = {frame.symbol: frame.range for frame in frames}
    work = Work(size.get(INPUT, 0), size.get(CHARS, 0))
    for symbol, count in size.items():
        if symbol in ranges:
            work = work.plus(_absolute(ranges[symbol], frames), count)
    return work


def has_pieces(size: Size, frames: Frames) -> bool:
    ranges = [frame.range for frame in frames if frame.symbol in size]
    return PIECES in size or any(has_pieces(range_, frames) for range_ in ranges)


def total(*sizes: Size) -> Size:
    result: dict[str, int] = {}
    for size in sizes:
        for symbol, count in size.items():
            result[symbol] = result.get(symbol, 0) + count
    return result


def larger(sizes: list[Size]) -> Size:
    symbols: Iterator[str] = (symbol for size in sizes for symbol in size)
    return {symbol: max(size.get(symbol, 0) for size in sizes) for symbol in symbols}


def times(size: Size, factor: int) -> Size:
    return {symbol: count * factor for symbol, count in size.items()}
