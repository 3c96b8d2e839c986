"""What a conversion could not say in our words, and what it made of that instead."""

from dataclasses import dataclass

from extauthz.errors import Position

__all__ = ["Loss", "Losses"]


@dataclass(frozen=True, slots=True)
class Loss:
    """One difference between what was written and what was made of it; never one that allows more, but for ``host-ports``."""

    code: str
    where: Position
    message: str
    mend: str = ""


class Losses:
    """Collects the losses of one place."""

    def __init__(self, where: Position) -> None:
        """Begin with none."""
        self.where = where
        self.found: list[Loss] = []

    def add(self, code: str, message: str, mend: str = "") -> None:
        """Note one, once."""
        loss = Loss(code, self.where, message, mend)
        if loss not in self.found:
            self.found.append(loss)
