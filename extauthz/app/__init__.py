"""The composition root: the one place that knows all rooms.

``values`` turns the configuration into the values of the rooms, ``graph`` builds the objects and runs them, ``validation``
builds as much as can be built without opening anything and tells what is wrong, ``engine`` is what the workbench asks.
"""

from extauthz.app.engine import engine
from extauthz.app.graph import build, serve
from extauthz.app.suites import Run, run_suites
from extauthz.app.supervising import supervise
from extauthz.app.validation import ValidationReport, validate
from extauthz.app.vault import Secrets

__all__ = [
    "Run",
    "Secrets",
    "ValidationReport",
    "build",
    "engine",
    "run_suites",
    "serve",
    "supervise",
    "validate",
]
