"""What callers may do: AuthPolicy documents, compiled into one immutable snapshot, and its verdicts.

Pure and synchronous: no clock, no file, no network. Texts and settings come in, a ``Snapshot`` comes out, and a snapshot
turns a canonical request and a proven identity into ``Allow`` or ``Deny``, and into an explanation of either.
"""

from extauthz.policy.explanation import (
    ConditionSeen,
    EntrySeen,
    PolicyExplanation,
    PolicySeen,
    RuleSeen,
    WordSeen,
)
from extauthz.policy.loading import load
from extauthz.policy.policy import Policy
from extauthz.policy.rule import Rule, Stage
from extauthz.policy.selection import Selection
from extauthz.policy.settings import PolicySettings, PolicyText
from extauthz.policy.snapshot import Snapshot, empty

__all__ = [
    "ConditionSeen",
    "EntrySeen",
    "Policy",
    "PolicyExplanation",
    "PolicySeen",
    "PolicySettings",
    "PolicyText",
    "Rule",
    "RuleSeen",
    "Selection",
    "Snapshot",
    "Stage",
    "WordSeen",
    "empty",
    "load",
]
