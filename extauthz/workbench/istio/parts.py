"""An alternative of a rule while it is being said: in our words, and in CEL where they don't reach.

What can't be said depends on the side: where a policy allows, the alternative is left out (it allows less); where it denies,
the part is left out (it denies more). So nothing is ever allowed that Istio would not allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from extauthz.workbench.istio.losses import Losses
from extauthz.workbench.istio.words import literal

__all__ = ["Inexpressible", "Part", "Side", "Surroundings", "Words"]

_ANONYMOUS = '"anonymous" in identity.roles'


class Inexpressible(Exception):  # noqa: N818 - never leaves this package
    """A part has no equivalent; the text says why."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule means beyond its text."""

    namespace: str = ""
    """Of its policy; empty if that is not known."""
    trust_domains: tuple[str, ...] = ("cluster.local",)
    """Of the mesh, and its aliases after it: what ``cluster.local`` stands for in principals."""
    providers: frozenset[str] | None = None
    """Whose tokens Istio sees here for sure; None if that is not known."""


@dataclass(frozen=True, slots=True)
class Words:
    """A list of Istio's and its not* twin."""

    name: str
    values: Sequence[str]
    excluded: Sequence[str]

    @property
    def negated(self) -> str:
        """The name of the twin."""
        return "not" + self.name[0].upper() + self.name[1:]


@dataclass(slots=True)
class Part:
    """An alternative of ``from`` or ``to``, or all of ``when``."""

    words: dict[str, list[Any]] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)
    token: bool = False
    """Only callers with a token can match."""


@dataclass(frozen=True, slots=True)
class Side:
    """On which side a rule stands, and what surrounds it."""

    losses: Losses
    around: Surroundings
    deny: bool

    def lose(self, why: str) -> None:
        """A part that can't be said: a denial goes on without it, an alternative that allows is given up.

        Raises:
            Inexpressible: The rule allows.

        """
        if not self.deny:
            raise Inexpressible(why)
        self.losses.add("denies-more", f"{why}: it is left out, so more is denied")

    def unless(self, asked: str) -> str:
        """The CEL that says that no token matches: there is none that Istio would see, or another one."""
        seen = ""
        if self.deny and self.around.providers is not None:
            names = ", ".join(literal(name) for name in sorted(self.around.providers))
            seen = f"!(identity.provider in [{names}]) || "
        return f"({_ANONYMOUS} || {seen}!({asked}))"
