"""What decides, taken out of the server: one snapshot and the rules for requests, ready to be asked by a command."""

import itertools
from dataclasses import dataclass

from extauthz.check import Authenticator, Check, RequestRules
from extauthz.model import AttributeContext, Decision
from extauthz.policy import Snapshot
from extauthz.workbench.given import Unused

__all__ = ["Engine"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts of a server that a decision depends on, but for who vouches for callers."""

    snapshot: Snapshot
    rules: RequestRules

    def check(self, authenticator: Authenticator) -> Check:
        """The journey of a request, as the server runs it."""
        numbers = itertools.count(1)
        return Check(authenticator, self.snapshot, self.rules, limiter=Unused(), new_id=lambda: str(next(numbers)))

    def decide(self, sent: AttributeContext, authenticator: Authenticator) -> Decision:
        """The decision on one request, by an authenticator that never waits.

        Raises:
            RuntimeError: The authenticator asks to wait.
        """
        decision = self.check(authenticator).decide(sent)
        if not isinstance(decision, Decision):
            message = "the authenticator asks to wait, and nobody is here to do so"
            raise RuntimeError(message)  # noqa: TRY004 - a fault of the caller, not of a type
        return decision
