"""Cases: one request, one caller and what must come of it, whatever shorthand they were written in."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from extauthz.errors import Position
from extauthz.model import Deny, Identity
from extauthz.workbench.sketch import RequestSketch
from extauthz.workbench.suites.form import ExpectForm, RequestForm

__all__ = ["Case", "Expectation", "Person", "sketch"]

Person = Identity | Deny | None
"""Whom credentials prove, why they prove nobody, or None: there are none."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come of a case. None for what does not matter."""

    decision: str | None = None
    reason: str | None = None
    policy: str | None = None
    rule: str | None = None
    status: int | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    rate: int | None = None
    shadow: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, form: ExpectForm) -> "Expectation":
        """From what was written."""
        return cls(
            form.decision,
            form.reason,
            form.policy,
            form.rule,
            form.status,
            tuple(form.headers.items()),
            form.rate,
            tuple(form.shadow.items()),
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a suite."""

    suite: str
    name: str
    where: Position
    sketch: RequestSketch
    caller: Person
    caller_name: str
    """How the suite calls it; empty for nobody."""
    peer: Person
    expected: Expectation

    @property
    def asked(self) -> str:
        """The request and the caller in a line."""
        who = f" as {self.caller_name}" if self.caller_name else " without credentials"
        if not self.sketch.http:
            return f"TCP to port {self.sketch.destination_port}{who}"
        return f"{self.sketch.method} {self.sketch.scheme}://{self.sketch.host}{self.sketch.path}{who}"


def sketch(defaults: RequestForm, form: RequestForm, written: Mapping[str, str]) -> RequestSketch:
    """The request of a case: what it says, else the suite's defaults; ``written`` are cells of a table."""
    made = RequestSketch(host="example.com")
    for part in (defaults, form):
        source = {"source_address": part.source.address, "source_principal": part.source.principal}
        changes = {
            **{name: getattr(part, name) for name in ("method", "path", "host", "scheme", "sni")},
            **source,
            "destination_port": part.port,
            "http": None if part.tcp is None else not part.tcp,
            "time": None if part.time is None else datetime.fromisoformat(part.time).timestamp(),
        }
        made = replace(made, **{name: value for name, value in changes.items() if value is not None})
    headers = {**defaults.headers, **form.headers}
    context = {**defaults.context, **form.context}
    return replace(
        made,
        headers=tuple((name, value) for name, values in headers.items() for value in values),
        context=tuple(context.items()),
        method=written.get("method", made.method),
        scheme=written.get("scheme", made.scheme),
        host=written.get("host", made.host),
        path=written.get("path", made.path),
    )
