"""The demo on a terminal: run the steps, print the table, prove the trace, say how it ended.

Model: a step succeeds when the status, the answering party, the reason and the proof all agree with what the scenario
says. The table shows what was asked, what was expected, what came back and why; the exit code is 1 if anything
differs. Without a terminal the same table is printed without colour.

Trade-off: one request after the other. The whole scenario takes about a second, and a table in the order of the story
is easier to read than a faster one.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.demo.clients import Answer, http
from mesh.demo.evidence import Evidence, find, joined, services, trace_of
from mesh.demo.scenario import Scenario, Step
from mesh.local import LocalMesh

WIDTH = 150
"""Columns where there is no terminal to ask, as in a CI log."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step, what came back, and the differences from what was expected."""

    step: Step
    answer: Answer
    evidence: Evidence
    differences: tuple[str, ...]


def judge(step: Step, log: Path) -> Outcome:
    """Makes one request and compares."""
    try:
        answer = step.ask()
    except Exception as problem:  # noqa: BLE001 - a broken connection is an answer too, and the table has to go on
        return Outcome(step, Answer(type(problem).__name__), Evidence("nobody", str(problem)), ("no answer",))
    evidence = find(log, answer)
    differences = []
    if answer.status != step.status:
        differences.append(f"status {answer.status}, not {step.status}")
    if (evidence.by, evidence.reason) != (step.by, step.reason):
        differences.append(f"{evidence.by} says {evidence.reason}, not {step.by} {step.reason}")
    if step.proof and not step.proof(answer):
        differences.append(f"not shown: {step.proves}")
    return Outcome(step, answer, evidence, tuple(differences))


def table(outcomes: list[Outcome]) -> Table:
    """The story as a table."""
    found = Table(title="Requests through Envoy, decided by extauthz", title_justify="left", expand=False)
    for name in ("asked", "expected", "answered", "why"):
        found.add_column(name, overflow="fold")
    chapter = ""
    for outcome in outcomes:
        step = outcome.step
        if step.chapter != chapter:
            chapter = step.chapter
            found.add_section()
        colour = "green" if not outcome.differences else "bold red"
        why = outcome.evidence.reason
        if outcome.evidence.rule:
            why += f" ({outcome.evidence.rule})"
        if outcome.evidence.by == "envoy":
            why = f"Envoy itself: {why}"
        if step.proves and not outcome.differences:
            why += f"; {step.proves}"
        why = "; ".join([why, *(f"BUT {difference}" for difference in outcome.differences)])
        found.add_row(
            escape(step.asked), step.status, f"[{colour}]{escape(outcome.answer.status)}[/]", f"{escape(why)}"
        )
    return found


def prove_trace(mesh: LocalMesh) -> tuple[bool, str]:
    """One more request, followed through the three services; the sentence to print and whether it holds."""
    if mesh.collector is None:
        return False, "the demo needs its own collector"
    token = mesh.issuer.mint("alice")
    answer = http(mesh.envoy.options.listen, "GET", "/orders/42", [("authorization", f"Bearer {token}")])
    told = str(answer.body.get("traceparent") or "")
    trace_id = find(mesh.access_log, answer).trace_id
    spans = trace_of(mesh.collector, trace_id) if trace_id else []
    names = ", ".join(sorted(services(spans)))
    whole = joined(spans) and trace_id in told
    verdict = "one trace" if whole else "NOT one trace"
    return whole, f"{verdict}, {len(spans)} spans: {names or 'none'} ({trace_id or 'no trace id'})"


def run(state: Path | None = None) -> int:
    """Starts the mesh, tells the story, and returns the exit code."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="extauthz-demo-") as temporary:
        if not console.is_terminal:
            console.print("starting Envoy, extauthz, two upstreams, an issuer and a trace collector")
        with console.status("starting the mesh") as status:

            def report(line: str) -> None:
                status.update(f"the mesh: {escape(line)}")

            with LocalMesh(state or Path(temporary), own_collector=True, report=report) as mesh:
                started = time.monotonic() - began
                steps = Scenario(mesh.envoy.options.listen, mesh.issuer, mesh.desk).steps()
                outcomes = []
                for number, step in enumerate(steps, 1):
                    report(f"request {number} of {len(steps)}: {step.asked}")
                    outcomes.append(judge(step, mesh.access_log))
                report("waiting for the trace")
                whole, sentence = prove_trace(mesh)
    console.print(table(outcomes))
    console.print(f"trace: {sentence}", style="green" if whole else "bold red")
    wrong = sum(1 for outcome in outcomes if outcome.differences)
    asked = len(outcomes)
    console.print(
        f"{asked - wrong} of {asked} requests answered as expected; "
        f"mesh up in {started:.1f} s, everything in {time.monotonic() - began:.1f} s."
    )
    if wrong or not whole:
        console.print("`python -m mesh demo --state DIR` keeps the logs and configurations of the run.")
    console.print("`make up` keeps the same mesh running and prints curl lines to try.")
    return 1 if wrong or not whole else 0
