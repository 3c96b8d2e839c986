"""Runs cases: each asks the engine once, and what came is held against what was expected."""

from collections.abc import Iterator
from dataclasses import dataclass

from extauthz.model import Allow, Decision, Deny
from extauthz.workbench.engine import Engine
from extauthz.workbench.given import Given
from extauthz.workbench.suites.cases import Case

__all__ = ["HEADER", "Mismatch", "Outcome", "run_case"]

HEADER = "header "
"""How a mismatch of a header begins; its name follows, and values are quoted."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that came otherwise than expected."""

    what: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case."""

    case: Case
    decision: Decision
    mismatches: tuple[Mismatch, ...]
    overlooked: str = ""
    """Why the caller or the peer that the case names was nobody to the policies; empty if that is not so."""

    @property
    def passed(self) -> bool:
        """Whether all came as expected."""
        return not self.mismatches


def run_case(engine: Engine, case: Case) -> Outcome:
    """Ask the engine about a case."""
    given = Given(case.caller, case.peer)
    decision = engine.decide(case.sketch.attributes(), given)
    mismatches = tuple(_mismatches(case, decision))
    overlooked = ""
    if mismatches and decision.request is not None:
        selection = engine.snapshot.select(decision.request)
        if selection:
            overlooked = given.overlooked(selection.providers, selection.mesh_providers)
    return Outcome(case, decision, mismatches, overlooked)


def _mismatches(case: Case, decision: Decision) -> Iterator[Mismatch]:
    expected, verdict = case.expected, decision.verdict
    got = {
        "decision": "allow" if isinstance(verdict, Allow) else "deny",
        "reason": verdict.reason.word,
        "policy": verdict.policy,
        "rule": verdict.rule,
        "status": str(verdict.reason.http) if isinstance(verdict, Deny) else "",
        "rate": str(_rate(verdict)),
    }
    for what, found in got.items():
        wanted = getattr(expected, what)
        if wanted is not None and str(wanted) != found:
            yield Mismatch(what, str(wanted), found or "none")
    if expected.headers:
        yield from _headers(case, verdict)
    told = {f"{shadow.policy}/{shadow.rule}".rstrip("/"): shadow.verdict for shadow in decision.shadows}
    for name, would in expected.shadow:
        shadow = told.get(name)
        found = "nothing" if shadow is None else "allow" if isinstance(shadow, Allow) else "deny"
        if found != would:
            yield Mismatch(f"shadow {name}", would, found)


def _rate(verdict: Allow | Deny) -> int:
    if isinstance(verdict, Deny) or verdict.charge is None:
        return 0
    return verdict.charge.rate.per_minute


def _headers(case: Case, verdict: Allow | Deny) -> Iterator[Mismatch]:
    if isinstance(verdict, Deny):
        yield Mismatch("headers", "an allow with headers", "a denial")
        return
    values = dict(verdict.set_headers)
    for name, wanted in case.expected.headers:
        found = values.get(name)
        if wanted is None:
            if name not in verdict.remove_headers:
                yield Mismatch(f"{HEADER}{name}", "removed", "left as it is" if found is None else repr(found))
        elif found != wanted:
            yield Mismatch(f"{HEADER}{name}", repr(wanted), "not set" if found is None else repr(found))
