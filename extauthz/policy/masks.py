"""Which rules could mean a request: sets of rules as bits of integers, one lookup for each thing that rules ask.

Every rule has a number. For each method, host, path pattern, principal and role there is a mask of the rules that ask for
it, and one of the rules that do not ask. A request's masks are looked up and ANDed, so finding the rules among ten
thousand that could match takes as many dictionary lookups as among ten, and some integers of ten thousand bits. What is
found are candidates: a rule with several entries, or with not* words, still decides for itself (``Rule.reach``), so a
mask may hold a rule too many, and never one too few.

The price is memory, a bit for each rule in each mask: at ten thousand rules about a kilobyte for each distinct path or
host, so it grows with the square. A hundred thousand rules in one process are not what this is for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from extauthz.policy.facts import Facts
from extauthz.policy.pace import paced
from extauthz.policy.path_trie import PathTrie
from extauthz.policy.patterns import HostPattern
from extauthz.policy.rule import Rule
from extauthz.policy.words import Entry

__all__ = ["HostMasks", "Lane", "RuleMasks", "bits"]


_WORD_BITS = 60
_WORD = (1 << _WORD_BITS) - 1


def bits(mask: int) -> Iterator[int]:
    """The numbers in a mask, in ascending order; the first one costs little, wherever it is and however many follow."""
    base = 0
    while mask:
        word = mask & _WORD
        if not word:
            if mask.bit_count() == 1:
                yield base + mask.bit_length() - 1
                return
            skipped = (mask & -mask).bit_length() - 1
            mask >>= skipped
            base += skipped
            word = mask & _WORD
        while word:
            lowest = word & -word
            yield base + lowest.bit_length() - 1
            word ^= lowest
        mask >>= _WORD_BITS
        base += _WORD_BITS


class HostMasks:
    """Masks by host pattern. A lookup takes as many steps as the host has labels."""

    __slots__ = ("_below", "_literal", "_wherever", "unasked")

    def __init__(self) -> None:
        """Begin empty."""
        self._literal: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._wherever = 0
        """What asks for no host, or for any."""
        self.unasked = 0
        """What asks for no host: it is there for requests without one, too."""

    def add(self, patterns: Iterable[HostPattern], mask: int) -> None:
        """Put something under host patterns."""
        for pattern in patterns:
            if not pattern.below:
                self._literal[pattern.name] = self._literal.get(pattern.name, 0) | mask
            elif pattern.name:
                self._below[pattern.name] = self._below.get(pattern.name, 0) | mask
            else:
                self._wherever |= mask

    def add_unasked(self, mask: int) -> None:
        """Put something that asks for no host."""
        self.unasked |= mask
        self._wherever |= mask

    def find(self, host: str) -> int:
        """All that a canonical host matches, and what asks for none."""
        if not host:
            return self.unasked
        found = self._wherever
        if self._literal:
            literal = self._literal.get(host)
            if literal is not None:
                found |= literal
        if self._below:
            dot = host.find(".")
            while dot != -1:
                below = self._below.get(host[dot + 1 :])
                if below is not None:
                    found |= below
                dot = host.find(".", dot + 1)
        return found


@dataclass(slots=True)
class Lane:
    """What is left of some rules that allow, for one caller: each mask holds fewer of them than the one before."""

    facts: Facts
    applicable: int
    """Their ``to`` could mean the request."""
    reachable: int
    """And their ``from`` the peer."""
    taken: int
    """And the caller has a role for them."""

    @property
    def without_role(self) -> int:
        """Those that only the caller's roles are against."""
        return self.reachable ^ self.taken if self.taken else self.reachable

    @property
    def elsewhere(self) -> int:
        """Those whose ``from`` does not mean the peer."""
        return 0 if self.reachable is self.applicable else self.applicable ^ self.reachable


class RuleMasks:
    """The masks of a sequence of rules, all of ``rules`` or all of ``deny``."""

    __slots__ = (
        "_any_caller",
        "_any_method",
        "_any_path",
        "_asks_host",
        "_asks_path",
        "_asks_principal",
        "_connect",
        "_hosts",
        "_methods",
        "_paths",
        "_patterned",
        "_principals",
        "_roles",
        "_tcp",
        "_unsourced",
        "all_want_credentials",
        "rules",
        "wants_credentials",
    )

    def __init__(self, rules: Sequence[Rule], *, deny: bool, fold: bool) -> None:
        """Number the rules in their order."""
        self.rules = tuple(rules)
        everybody = (1 << len(self.rules)) - 1
        self.wants_credentials = _mask(self.rules, lambda rule: rule.wants_credentials)
        self.all_want_credentials = self.wants_credentials == everybody
        self._tcp = _mask(self.rules, lambda rule: rule.to_without_http is None or rule.to_without_http != ())
        self._connect = _mask(self.rules, lambda rule: rule.to_connect is None or rule.to_connect != ())
        self._any_method = _mask(self.rules, lambda rule: _unasked(rule.to, "methods"))
        self._any_path = _mask(self.rules, lambda rule: _unasked(rule.to, "paths"))
        self._unsourced = _mask(self.rules, lambda rule: _unasked(rule.sources, "principals"))
        self._any_caller = _mask(self.rules, lambda rule: rule.roles is None)
        self._hosts = HostMasks()
        self._hosts.add_unasked(_mask(self.rules, lambda rule: _unasked(rule.to, "hosts")))
        # Comparing two masks costs as much as joining them: whether anybody asks is told once.
        self._asks_path = self._any_path != everybody
        self._asks_host = self._hosts.unasked != everybody
        self._asks_principal = self._unsourced != everybody
        self._paths = PathTrie(tolerant=deny, fold=fold)
        self._methods: dict[str, int] = {}
        self._principals: dict[str, int] = {}
        self._patterned = 0
        """Rules that ask for principals by patterns: they are asked whenever there is a principal."""
        self._roles: dict[str, int] = {}
        for number, rule in enumerate(paced(self.rules)):
            self._add(rule, 1 << number)

    def _add(self, rule: Rule, mask: int) -> None:
        for role in rule.roles or ():
            self._roles[role] = self._roles.get(role, 0) | mask
        for method in _asked(rule.to, "methods"):
            self._methods[method] = self._methods.get(method, 0) | mask
        for path in _asked(rule.to, "paths"):
            self._paths.add(path, mask)
        self._hosts.add(_asked(rule.to, "hosts"), mask)
        for principal in _asked(rule.sources, "principals"):
            if "*" in principal:
                self._patterned |= mask
            else:
                self._principals[principal] = self._principals.get(principal, 0) | mask

    def lane(self, facts: Facts, among: int) -> Lane:
        """Those among some rules that could allow a caller, and on the way those that can't."""
        applicable = self.applicable(facts, among)
        reachable = self.reachable(facts, applicable)
        return Lane(facts, applicable, reachable, self.taken(facts, reachable, anybody=facts.identity is not None))

    def applicable(self, facts: Facts, among: int) -> int:
        """Those among some rules whose ``to`` could mean the request."""
        request = facts.request
        if not request.http:
            return among & self._tcp
        method = request.method
        if method == "CONNECT":
            return among & self._connect
        found = among
        if self._methods:
            found &= self._methods.get(method, 0) | self._any_method
        if found and self._asks_path:
            found &= self._paths.find(request.path) | self._any_path
        if found and self._asks_host:
            found &= self._hosts.find(request.host)
        return found

    def reachable(self, facts: Facts, among: int) -> int:
        """Those among some rules whose ``from`` could mean the request."""
        if not self._asks_principal:
            return among
        principal = facts.request.source.principal
        if not principal:
            return among & self._unsourced
        return among & (self._unsourced | self._principals.get(principal, 0) | self._patterned)

    def taken(self, facts: Facts, among: int, *, anybody: bool) -> int:
        """Those among some rules that the caller has a role for; ``anybody``: also those without roles."""
        found = self._any_caller if anybody else 0
        for role in facts.roles:
            mask = self._roles.get(role)
            if mask is not None:
                found = found | mask if found else mask
        return among & found if found else 0


def _mask(rules: Iterable[Rule], holds: Callable[[Rule], bool]) -> int:
    """The rules that something holds for, as one integer, made in one step: shifting bits in one by one is quadratic."""
    text = "".join("1" if holds(rule) else "0" for rule in paced(rules))
    return int(text[::-1] or "0", 2)


def _unasked(entries: tuple[Entry, ...] | None, name: str) -> bool:
    """Whether some entry does not ask for a word: then the rule may match whatever the request has there."""
    return entries is None or any(entry.word(name) is None for entry in entries)


def _asked(entries: tuple[Entry, ...] | None, name: str) -> Iterator[Any]:
    """All patterns of a word, in whichever entry."""
    for entry in entries or ():
        word = entry.word(name)
        if word is not None:
            yield from word.asked
