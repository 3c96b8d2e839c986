"""Regular expressions of ``matches``: what RE2 takes, and how much work they can be.

RE2 (https://github.com/google/re2/wiki/Syntax) reads a text once, whatever the pattern. But a pattern with counted
repetitions stands for a longer one, and where its automaton grows too large, each character of the text costs as much as
that longer pattern has parts: ``(a?){1000}`` reads 60 kB in 0.8 s.
"""

import re

from cel_expr_python import cel

__all__ = ["pattern_parts", "takes_pattern"]

_MATCHES = cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile("''.matches(pattern)")
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?[a-zA-Z^-]*\)|\((?:\?(?:P?<\w+>|[a-zA-Z^-]*:))?|\)"
    r"|\{(\d+)(?:,(\d*))?\}|[*+?|^$]|.",
    re.DOTALL,
)


def takes_pattern(pattern: str) -> bool:
    """Whether RE2 takes a regular expression."""
    try:
        return bool(_MATCHES.eval(data={"pattern": pattern}).type().name() == "BOOL")
    except Exception:  # noqa: BLE001 - text that is not UTF-8 comes as RuntimeError
        return False


def pattern_parts(pattern: str) -> int:
    """How many parts a regular expression has once its counted repetitions are written out."""
    outer: list[int] = []
    total = last = 0
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text.startswith("("):
            outer.append(total)
            total = last = 0
        elif text == ")":
            last = total + 1
            total = last + (outer.pop() if outer else 0)
        elif token[1]:
            times = max(int(token[2] or token[1]), 1)
            total += last * (times - 1)
            last *= times
        else:
            last = 1
            total += 1
    return total + sum(outer)
