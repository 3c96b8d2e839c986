"""The words of an entry of ``to`` and ``from``, each a question about a request, and entries, which are words in AND.

A word stands for what was written (``methods: [GET, HEAD]``), knows what it asks of a request, and answers. The same
answer decides and explains: an explanation lists the words of an entry, and there is no second matcher.

A positive word never matches what is absent. A not* word on what is absent matches in ``deny`` and never in an allow. An
address that is there but can't be read is neither: it might be in any block, so in ``deny`` it is taken to be.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from extauthz.model import Request

__all__ = ["Entry", "Word", "client_address", "peer_address"]


@dataclass(frozen=True, slots=True)
class Word:
    """One key of an entry, with its patterns."""

    name: str
    """As it is written: ``paths``, ``notIpBlocks``."""
    written: tuple[str, ...]
    """Its patterns, for people."""
    asked: tuple[Any, ...]
    """The same as values of their kind, for the indexes."""
    read: Callable[[Request], Any]
    """What it asks of a request; empty, 0 or None if that is absent."""
    patterns: Container[Any]
    """The same, compiled to be asked with ``in``; what is absent is in none of them."""
    excludes: bool
    """It is a not* word."""
    deny: bool
    """It stands in ``deny``."""
    unreadable: Callable[[Request], bool] | None = None
    """Whether a value is there that nobody can read."""

    def holds(self, request: Request) -> bool:
        """Whether the request is as the word says."""
        value = self.read(request)
        if self.excludes:
            return value not in self.patterns if value else self.deny
        if value in self.patterns:
            return True
        return self.deny and self.unreadable is not None and self.unreadable(request)

    def value(self, request: Request) -> str:
        """What the request has, for people; empty if it is absent."""
        return str(self.read(request) or "")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``to`` or ``from``: all of its words must hold."""

    words: tuple[Word, ...]

    def matches(self, request: Request) -> bool:
        """Whether the request is as the entry says."""
        for word in self.words:  # noqa: SIM110 - a generator costs as much as the match itself
            if not word.holds(request):
                return False
        return True

    def word(self, name: str) -> Word | None:
        """The word of this name, if it was written."""
        return next((word for word in self.words if word.name == name), None)

    @property
    def just_ports(self) -> bool:
        """Whether it speaks of nothing but ports, so that it can mean a request without HTTP."""
        return all(word.name in ("ports", "notPorts") for word in self.words)

    @property
    def names_connect(self) -> bool:
        """Whether CONNECT is one of its methods."""
        methods = self.word("methods")
        return methods is not None and "CONNECT" in methods.patterns


def peer_address(request: Request) -> bool:
    """Whether the peer has an address that can't be read. That of a unix socket is absent, not unreadable."""
    return request.source_ip is None and request.source.address != ""


def client_address(request: Request) -> bool:
    """Whether the client's address can't be told."""
    return request.client_ip is None
