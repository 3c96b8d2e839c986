"""The sidecar that keeps a workload's token fresh.

``TokenKeeper`` is the loop: a token is asked for, written where the workload reads it, and renewed at two thirds of its
life. Where tokens come from is a ``TokenSource``, where they go is files and pages; HTTP in and out comes from outside.
"""

from extauthz.agent.answers import Issued, Refused, Unanswered
from extauthz.agent.files import StateFile
from extauthz.agent.health import Health
from extauthz.agent.keeper import HeldToken, KeeperMetrics, TokenKeeper
from extauthz.agent.running import run
from extauthz.agent.settings import ACCESS_TOKEN_TYPE, JWT_TYPE, Grant, Purpose
from extauthz.agent.sources import Poster, TokenSource, token_source

__all__ = [
    "ACCESS_TOKEN_TYPE",
    "JWT_TYPE",
    "Grant",
    "Health",
    "HeldToken",
    "Issued",
    "KeeperMetrics",
    "Poster",
    "Purpose",
    "Refused",
    "StateFile",
    "TokenKeeper",
    "TokenSource",
    "Unanswered",
    "run",
    "token_source",
]
