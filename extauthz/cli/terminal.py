"""What people see: problems and complaints as lines that editors and terminals make clickable.

Colour is for terminals alone (and not even there if ``NO_COLOR`` is set, https://no-color.org). Names and messages can
hold what somebody else wrote, so control characters never reach the terminal as such.
"""

import os
import re
import sys
from collections.abc import Iterable
from typing import TextIO

from extauthz.errors import Problem

__all__ = ["complain", "harmless", "problem_lines"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BOLD = "\x1b[1m"
_RED = "\x1b[31m"
_PLAIN = "\x1b[0m"


def problem_lines(problems: Iterable[Problem], stream: TextIO) -> list[str]:
    """The lines for some problems, coloured if the stream is a terminal."""
    bold, plain = (_BOLD, _PLAIN) if _colourful(stream) else ("", "")
    return [
        f"{bold}{harmless(str(problem.where))}:{plain} {harmless(problem.message)}"
        + (f" ({harmless(problem.hint)})" if problem.hint else "")
        for problem in problems
    ]


def complain(message: str, *, hint: str = "") -> None:
    """Say on standard error why a command can't be done."""
    stream = sys.stderr
    red, plain = (_RED, _PLAIN) if _colourful(stream) else ("", "")
    text = "\n".join(harmless(line) for line in message.split("\n"))
    stream.write(f"{red}extauthz:{plain} {text}" + (f" (see {hint})" if hint else "") + "\n")


def harmless(text: str) -> str:
    """The text with control characters, and those that turn the direction of writing, spelled out."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _colourful(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
