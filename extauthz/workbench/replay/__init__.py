"""What would other policies have made of the same requests? A decision log, or a folder of CheckRequests, judged again.

A record with a ``capture`` is judged as it was judged then, by the journey that the server runs: the caller is the one
that was proven, nothing is fetched, no rate is used up. A record without one has method, host, path, peer and roles; that
is enough for most rules, and where it is not the answer is counted as approximate. What was never decided by policies
(refused for its form, no credentials that prove anybody, a fault of a server) stays what it was, or is left out and told.
"""

from extauthz.workbench.replay.comparison import Change, Comparison, Kind, RouteChange, ShadowCount
from extauthz.workbench.replay.outcome import Outcome, outcome_of
from extauthz.workbench.replay.record import Record, Skipped, read_record
from extauthz.workbench.replay.replayer import Peers, Replayer
from extauthz.workbench.replay.routes import Route, route_of
from extauthz.workbench.replay.sources import Line, check_requests, is_check_request, log_lines

__all__ = [
    "Change",
    "Comparison",
    "Kind",
    "Line",
    "Outcome",
    "Peers",
    "Record",
    "Replayer",
    "Route",
    "RouteChange",
    "ShadowCount",
    "Skipped",
    "check_requests",
    "is_check_request",
    "log_lines",
    "outcome_of",
    "read_record",
    "route_of",
]
