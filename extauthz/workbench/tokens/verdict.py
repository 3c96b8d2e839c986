"""What the configured providers say of a token."""

from dataclasses import dataclass

from extauthz.identity import Step
from extauthz.model import Deny, Identity

__all__ = ["Judged"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and each check on the way to it."""

    found: Identity | Deny
    steps: tuple[Step, ...] = ()
    provider: str = ""
    """Whose token it says to be; empty if that is nobody we know."""
    notes: tuple[str, ...] = ()
    """What could not be seen and may change the verdict."""

    @property
    def accepted(self) -> bool:
        """Whether a request with it would have a caller."""
        return isinstance(self.found, Identity)

    @property
    def reason(self) -> str:
        """Why it is refused, as a word; empty if it is not."""
        return self.found.reason.word if isinstance(self.found, Deny) else ""

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        if isinstance(self.found, Identity):
            roles = ", ".join(sorted(self.found.roles)) or "none"
            return f"it proves {self.found.subject} to provider {self.found.provider}; roles: {roles}"
        return self.found.detail or self.found.reason.sentence
