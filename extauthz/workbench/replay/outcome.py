"""What is compared of two decisions: the answer, its reason, and the rule that gave it."""

from typing import NamedTuple

from extauthz.model import Allow, Decision, Deny, Reason

__all__ = ["ALLOW", "DENY", "Outcome", "outcome_of"]

ALLOW, DENY = "allow", "deny"
_LIMIT = 256
"""Characters of a name in a decision record."""


class Outcome(NamedTuple):
    """An answer. A tuple, because one is made and looked up for each record."""

    decision: str
    """``allow`` or ``deny``."""
    reason: str
    policy: str = ""
    rule: str = ""

    def __str__(self) -> str:
        """In words: ``allowed by orders/read``, ``role-missing at orders/read``, ``no-policy``."""
        rule = "/".join(name for name in (self.policy, self.rule) if name)
        if self.decision == ALLOW:
            return f"allowed by {rule}" if rule else "allowed"
        return f"{self.reason} at {rule}" if rule else self.reason


def outcome_of(verdict: Allow | Deny | Decision) -> Outcome:
    """The outcome of a verdict or decision."""
    if isinstance(verdict, Decision):
        verdict = verdict.verdict
    word = ALLOW if verdict.reason is Reason.ALLOWED else DENY
    return Outcome(word, verdict.reason.word, verdict.policy[:_LIMIT], verdict.rule[:_LIMIT])
