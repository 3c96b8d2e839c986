"""How lines of an explanation look: a mark, what was asked, what came of it.

Words are never markup, and control characters in them are spelled out: half of what an explanation shows was written by
strangers. A terminal that can't show the marks gets ASCII.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text
    from rich.tree import Tree

__all__ = ["Mark", "Pencil", "few"]

_FEW = 5


class Mark(Enum):
    """How something went."""

    sign: str
    style: str

    def __new__(cls, sign: str, style: str) -> Self:
        """Make the member from its row of the table."""
        member = object.__new__(cls)
        member._value_ = member.sign = sign
        member.style = style
        return member

    HOLDS = ("✓", "green")
    FAILS = ("✗", "bold red")
    OPEN = ("·", "dim")
    """Nothing depends on it, or it was not asked."""

    @classmethod
    def of(cls, holds: Any) -> "Mark":
        """That of a value that is true, false or None."""
        return cls.OPEN if holds is None else cls.HOLDS if holds else cls.FAILS


_PLAIN = str.maketrans({"✓": "+", "✗": "x", "·": "-", "→": ">"})


class Pencil:
    """Writes for one console."""

    def __init__(self, console: "Console", harmless: Callable[[str], str]) -> None:
        """``harmless`` spells out control characters."""
        self._harmless = harmless
        self._plain = not console.encoding.lower().startswith("utf")

    def text(self, *parts: str | tuple[str, str]) -> "Text":
        """Words, each with a style or without."""
        from rich.text import Text

        text = Text(overflow="fold")
        for part in parts:
            words, style = part if isinstance(part, tuple) else (part, "")
            text.append(self._harmless(words.translate(_PLAIN) if self._plain else words), style)
        return text

    def line(self, mark: Mark, what: str, said: str = "", *, strong: bool = False) -> "Text":
        """A line that begins with how it went."""
        style = "bold" if strong else "dim" if mark is Mark.OPEN else ""
        return self.text((f"{mark.sign} ", mark.style), (what, style), (f"  {said}" if said else "", "dim"))

    def named(self, name: str, value: str) -> "Text":
        """A name and its value."""
        return self.text((name, "dim"), value)

    def indented(self, *parts: str | tuple[str, str]) -> "Padding":
        """A line below the headline."""
        from rich.padding import Padding

        return Padding(self.text(*parts), (0, 0, 0, 2), expand=False)

    def tree(self, *parts: str | tuple[str, str]) -> "Tree":
        """A tree with this root."""
        from rich.tree import Tree

        return Tree(self.text(*parts), guide_style="dim")


def few(names: list[str]) -> str:
    """The first few of some names, and how many more there are."""
    shown = ", ".join(names[:_FEW])
    return shown if len(names) <= _FEW else f"{shown} and {len(names) - _FEW} more"
