"""What callers may do: AuthPolicy documents, compiled into one immutable snapshot, and its verdicts.

Pure and synchronous: no clock, no file, no network. Texts and settings come in, a ``Snapshot`` comes out, and a snapshot
turns a canonical request and a proven identity into ``Allow`` or ``Deny``.
"""

from extauthz.policy.loading import load
from extauthz.policy.policy import Policy
from extauthz.policy.settings import PolicySettings, PolicyText
from extauthz.policy.snapshot import Selection, Snapshot, empty

__all__ = ["Policy", "PolicySettings", "PolicyText", "Selection", "Snapshot", "empty", "load"]
