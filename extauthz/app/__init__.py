"""The composition root: the one place that knows all rooms.

``values`` turns the configuration into the values of the rooms, ``graph`` builds the objects and runs them, and
``validation`` builds as much as can be built without opening anything and tells what is wrong.
"""

from typing import TYPE_CHECKING

from extauthz.face import face

if TYPE_CHECKING:
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
    "run_suites",
    "serve",
    "supervise",
    "validate",
]

if not TYPE_CHECKING:
    __getattr__ = face(
        __name__,
        {
            "graph": "build serve",
            "suites": "Run run_suites",
            "supervising": "supervise",
            "validation": "ValidationReport validate",
            "vault": "Secrets",
        },
    )
