"""What is told of a token: lines for people, a value for programs. Never the signature, and nothing that a terminal obeys."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from extauthz.identity import Step
from extauthz.model import Identity
from extauthz.workbench.explain.pencil import Mark, Pencil
from extauthz.workbench.tokens.reading import Row, TokenSeen
from extauthz.workbench.tokens.verdict import Judged

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["as_json", "draw"]

_WIDE_NAME = 24


def draw(seen: TokenSeen, judged: Judged | None, console: "Console", harmless: Callable[[str], str]) -> None:
    """Write it for people; ``judged`` is None where nobody was asked."""
    pencil = Pencil(console, harmless)
    console.print(pencil.text((f"{seen.kind}, {seen.size} characters", "bold")))
    for title, rows in (("header", seen.header), ("claims", seen.claims)):
        if rows:
            console.print(pencil.text((title, "bold")))
            width = min(max(len(row.name) for row in rows), _WIDE_NAME)
            for row in rows:
                meaning = f"  {row.meaning}" if row.meaning else ""
                console.print(pencil.text(f"  {row.name:<{width}}  {row.said}", (meaning, "dim")))
    if seen.unusual:
        console.print(pencil.text(("unusual", "bold")))
        for text in seen.unusual:
            console.print(pencil.text(f"  {Mark.OPEN.sign} {text}"))
    if judged is None:
        console.print(
            pencil.text(("nobody was asked: there is no provider of JSON Web Tokens in the configuration", "dim"))
        )
        return
    console.print(pencil.text((f"checks of provider {judged.provider}" if judged.provider else "checks", "bold")))
    for step in judged.steps:
        mark = Mark.of(step.holds)
        rest = ": ".join(part for part in (step.asked, step.value) if part)
        fault = f": {step.fault}" if step.fault else ""
        console.print(pencil.text(("  " + mark.sign, mark.style), f" {rest}{fault}"))
    verdict = "accepted" if judged.accepted else f"refused: {judged.reason}"
    style = Mark.of(judged.accepted).style
    console.print(pencil.text((verdict, style), f": {judged.sentence}"))
    for note in judged.notes:
        console.print(pencil.text((note, "dim")))


def as_json(seen: TokenSeen, judged: Judged | None) -> dict[str, Any]:
    """The same for programs."""
    return {
        "kind": seen.kind,
        "size": seen.size,
        "header": _members(seen.header),
        "claims": _members(seen.claims),
        "unusual": list(seen.unusual),
        "verdict": None if judged is None else verdict_json(judged),
    }


def verdict_json(judged: Judged) -> dict[str, Any]:
    """The verdict for programs."""
    found = judged.found
    told: dict[str, Any] = {
        "accepted": judged.accepted,
        "reason": judged.reason,
        "detail": judged.sentence,
        "provider": judged.provider,
        "checks": [_check(step) for step in judged.steps],
        "notes": list(judged.notes),
    }
    if isinstance(found, Identity):
        told |= {
            "subject": found.subject,
            "roles": sorted(found.roles),
            "scopes": list(found.scopes),
            "expires": found.expires,
        }
    return told


def _members(rows: tuple[Row, ...]) -> dict[str, Any]:
    return {row.name: {"value": row.value, "said": row.said} for row in rows}


def _check(step: Step) -> dict[str, Any]:
    return {"about": step.about, "asked": step.asked, "holds": step.holds, "value": step.value, "fault": step.fault}
