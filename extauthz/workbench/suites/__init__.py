"""Test suites for policies: requests and callers in YAML, with what must come of them.

A suite is read with places (``form``, ``reading``), its rows become cases (``cases``), and each case asks the engine that
the server runs (``running``); nothing here decides. What no case reaches is told by ``coverage``, and ``reports`` writes
it all for people, programs and CI.
"""

from extauthz.workbench.suites.cases import Case, Expectation
from extauthz.workbench.suites.coverage import Coverage, RuleReached
from extauthz.workbench.suites.reading import Suite, read_suites
from extauthz.workbench.suites.running import Outcome, run_case

__all__ = ["Case", "Coverage", "Expectation", "Outcome", "RuleReached", "Suite", "read_suites", "run_case"]
