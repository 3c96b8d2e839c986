r"""CEL expressions: checked when a policy is loaded, evaluated without trusting the evaluator.

CEL (https://cel.dev) is evaluated by cel-cpp through ``cel_expr_python``. Everything that a policy may name is declared
with its type (``extauthz.policy.vocabulary``), as variables with dotted names, so a misspelt field, a wrong type or a
condition that is not a bool is found at load and told with its place; so is what could cost too much
(``extauthz.policy.costs``).

The binding has traps, and each is closed here or in ``extauthz.policy.facts`` and pinned by a test:

- A failed evaluation is not raised: it is a value of type ERROR whose Python value is a *string*. So a condition holds
  only if its value is the very ``True``, and a header takes nothing but STRING and LIST.
- ``eval`` raises RuntimeError for strings with lone surrogates and when the iteration budget (10,000 rounds a run) is
  spent: that is an error like any other.
- Strings are cut at U+0000 on their way in, so that ``"admin\0x" == "admin"``: such values are never bound.
- Error texts quote values of the request and of the claims: only the status word of an error is ever told.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from extauthz.canonical import canonical_address
from extauthz.policy.costs import WATCHED, excesses
from extauthz.policy.patterns import read_network
from extauthz.policy.regexes import takes_pattern
from extauthz.policy.syntax import Literal, Tree, read_tree
from extauthz.policy.vocabulary import ENVIRONMENT, IN_CIDR, NAMES, Activation, activation

__all__ = [
    "NAMES",
    "Activation",
    "Condition",
    "Fault",
    "HeaderValue",
    "activation",
    "read_condition",
    "read_header_value",
]

MAX_LENGTH = 4096
"""Characters of one expression."""
MAX_OPTIONAL_MACROS = 6
"""``optMap`` and ``optFlatMap`` of one expression: each writes out what it stands on twice."""

_CALLER = frozenset(name for name in NAMES if name == "claims" or name.startswith("identity."))

_HEADER_TYPES = ("STRING", "DYN", "LIST<STRING>", "LIST<DYN>")
_PLAIN_NAMES = frozenset(name for name, kind in NAMES.items() if kind.name() in ("STRING", "LIST<STRING>"))

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_CONTAINER = re.compile(r" \(in container ''\)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_STATUS = re.compile(r"[A-Z_]{2,32}(?=:)")
_OPTIONAL_MACROS = frozenset({"optMap", "optFlatMap"})
_TWO = 2
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with an expression."""

    offset: int
    """Where in its text, in code points."""
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression whose value is a bool."""

    source: str
    needs: frozenset[str]
    """The names that must be bound; perhaps some more."""
    program: Any

    @property
    def asks_for_caller(self) -> bool:
        """Whether its value may depend on who asks."""
        return not self.needs.isdisjoint(_CALLER)

    @property
    def constant(self) -> bool | None:
        """Its value if that is the same for every request, else None."""
        return None if self.needs else self.holds(activation({}))

    def holds(self, bound: Activation) -> bool | None:
        """The condition's value, or None if it has none: an error, which neither allows nor lets a deny pass."""
        try:
            value = self.program.eval(bound).value()
        except Exception:  # noqa: BLE001 - the binding raises RuntimeError and TypeError; any failure is "no value"
            return None
        return value if value is True or value is False else None

    def error(self, bound: Activation) -> str:
        """The status word of the error that evaluation ends with; for people, off the hot path."""
        return _status(self.program, bound)


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """An expression whose value goes into a header: a string or a list of strings."""

    source: str
    name: str
    """The expression if it is nothing but a declared name, so that no evaluator is needed; else empty."""
    needs: frozenset[str]
    program: Any

    def value(self, bound: Activation) -> str | list[str] | None:
        """The value, or None if it is an error or of any other type."""
        try:
            result = self.program.eval(bound)
            kind = result.type().name()
            if kind != "STRING" and not kind.startswith("LIST"):
                return None
            value = result.plain_value()
        except Exception:  # noqa: BLE001 - as above
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        return None


def read_condition(source: str) -> Condition | list[Fault]:
    """Compile a condition, or tell all that is wrong with it. Its type must be bool when it is loaded.

    A condition of type ``dyn``, such as ``claims.admin``, is refused: it would hold for ``true`` and fail for ``"true"``,
    and the comparison that says so (``claims.admin == true``) costs its author nothing.
    """
    program = _compile(source)
    if isinstance(program, list):
        return program
    kind = program.return_type().name()
    if kind != "BOOL":
        hint = "compare it, as in 'claims.admin == true'" if kind == "DYN" else _optional_hint(kind)
        return [Fault(0, f"a condition must be true or false, but this one is {_spell_type(kind)}", hint)]
    return Condition(source, _needs(source), program)


def read_header_value(source: str) -> HeaderValue | list[Fault]:
    """Compile the expression of a response header, or tell all that is wrong with it."""
    program = _compile(source)
    if isinstance(program, list):
        return program
    kind = program.return_type().name()
    if kind not in _HEADER_TYPES:
        textual = kind in ("INT", "UINT", "DOUBLE", "BOOL", "TIMESTAMP")
        hint = "write string(...) around it" if textual else _optional_hint(kind)
        return [Fault(0, f"a header must be a string or a list of strings, but this is {_spell_type(kind)}", hint)]
    name = source.strip()
    return HeaderValue(source, name if name in _PLAIN_NAMES else "", _needs(source), program)


def _compile(source: str) -> Any:
    if not source.strip():
        return [Fault(0, "the expression is empty")]
    if len(source) > MAX_LENGTH:
        return [Fault(0, f"the expression has {len(source)} characters, and may have {MAX_LENGTH}")]
    if "\0" in source:
        return [Fault(source.index("\0"), "the expression has a U+0000")]
    words = _WORD.findall(source)
    if sum(word in _OPTIONAL_MACROS for word in words) > MAX_OPTIONAL_MACROS:
        return [Fault(0, f"the expression has more than {MAX_OPTIONAL_MACROS} of optMap and optFlatMap")]
    try:
        program = ENVIRONMENT.compile(source)
    except Exception as error:  # noqa: BLE001 - a refusal comes as RuntimeError, text that is not UTF-8 as others
        return _faults(source, str(error))
    if WATCHED.isdisjoint(words):
        return program
    try:
        tree = read_tree(program.serialize())
    except ValueError as error:
        return [Fault(0, f"the expression can't be checked: {error}")]
    return sorted({*_costs(tree), *_bad_literals(tree)}, key=lambda fault: fault.offset) or program


def _faults(source: str, text: str) -> list[Fault]:
    """The compiler's complaints, which come as one text."""
    found = [
        Fault(_offset(source, int(line), int(column)), *_explain(source, message))
        for line, column, message in _ERROR.findall(text)
    ]
    return found or [
        Fault(0, f"the expression can't be compiled: {text.splitlines()[0] if text else 'no reason given'}")
    ]


def _offset(source: str, line: int, column: int) -> int:
    """The offset of a line and column (from 1) as the compiler counts them; 0 if it names none."""
    if line < 1 or column < 1:
        return 0
    lines = source.split("\n")
    return sum(len(text) + 1 for text in lines[: line - 1]) + column - 1


def _explain(source: str, message: str) -> tuple[str, str]:
    """A complaint in few words, and what the writer may have meant."""
    message = _CONTAINER.sub("", message)
    undeclared = _UNDECLARED.search(message)
    if not undeclared:
        return message.replace("Syntax error: ", "not valid CEL: "), ""
    name = undeclared[1]
    root = name.partition(".")[0]
    fields = [known for known in NAMES if known.startswith(f"{root}.")]
    if fields:
        return f"unknown name {name!r}", "known are: " + ", ".join(fields)
    if re.search(rf"\b{re.escape(name)}\s*\(", source):
        return f"unknown function {name!r}", "write inCidr(address, block)" if name.lower() == IN_CIDR.lower() else ""
    roots = dict.fromkeys(known.partition(".")[0] for known in NAMES)
    close = [known for known in NAMES if known.endswith(f".{root}")] or get_close_matches(root, roots, n=1)
    return f"unknown name {name!r}", f"did you mean {close[0]!r}?" if close else "known are: " + ", ".join(roots)


def _costs(tree: Tree) -> Iterator[Fault]:
    """What makes the expression cost too much."""
    for excess in excesses(tree):
        yield Fault(tree.offsets.get(excess.node, 0), excess.message, excess.hint)


def _bad_literals(tree: Tree) -> Iterator[Fault]:
    """Regular expressions, addresses and address blocks that stand as literals and would fail at every request."""
    for call in tree.calls():
        literals = [operand if isinstance(operand, Literal) else None for operand in call.operands]
        if call.function == "matches" and len(literals) == _TWO and literals[1] and literals[1].text is not None:
            if not takes_pattern(literals[1].text):
                place = tree.offsets.get(literals[1].id, 0)
                yield Fault(place, f"{literals[1].text!r} is not a regular expression that RE2 takes")
        elif call.function == IN_CIDR and len(literals) == _TWO:
            address, block = literals
            if address and address.text is not None and canonical_address(address.text) is None:
                yield Fault(tree.offsets.get(address.id, 0), f"{address.text!r} is not an address")
            if block and block.text is not None:
                try:
                    read_network(block.text)
                except ValueError as error:
                    yield Fault(tree.offsets.get(block.id, 0), str(error))


def _needs(source: str) -> frozenset[str]:
    """The declared names whose last part occurs as a word: what is used, or more, but never less."""
    words = frozenset(_WORD.findall(source))
    return frozenset(name for name in NAMES if name.rpartition(".")[2] in words)


def _status(program: Any, bound: Activation) -> str:
    try:
        result = program.eval(bound)
        text = str(result.value()) if result.type().name() == "ERROR" else ""
    except Exception as error:  # noqa: BLE001 - as above
        text = str(error)
    found = _STATUS.match(text)
    return found.group() if found else "UNKNOWN"


def _optional_hint(kind: str) -> str:
    return "say what it is where there is none, with .orValue(...)" if kind.startswith("optional_type") else ""


def _spell_type(kind: str) -> str:
    return f"of type {kind.lower()}"
