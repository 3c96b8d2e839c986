"""What of a case is shown: all but what may be a credential, since reports are kept by CI and read by many.

The engine is asked with what the suite says; only what is told of it afterwards is hidden, by the rules of captures and
explanations. So a failed case may name an expected value that nobody sees; its place in the suite is told beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from extauthz.capture import CredentialPlaces
from extauthz.capture.hiding import HIDDEN, Hiding, embedded_parameters
from extauthz.model import Deny, Identity, VerifiedClaims
from extauthz.workbench.sketch import RequestSketch
from extauthz.workbench.suites.running import HEADER, Mismatch, Outcome

__all__ = ["without_credentials"]


def without_credentials(
    places: CredentialPlaces, *, mask: Callable[[str], str], sensitive: Callable[[str], bool]
) -> Callable[[Outcome], Outcome]:
    """What makes of an outcome one that can be shown: ``mask`` hides what looks like a credential.

    ``places`` are where the configured providers look for credentials, ``sensitive`` knows names that credentials have.
    """
    embedded = embedded_parameters(places)

    def shown(outcome: Outcome) -> Outcome:
        hiding = Hiding(places, mask=mask, sensitive=sensitive, embedded=embedded)
        case, decision = outcome.case, outcome.decision
        path, _, query = case.sketch.path.partition("?")
        del path
        hiding.learn({name.lower(): (value,) for name, value in case.sketch.headers}, query)
        caller = case.caller
        if isinstance(caller, Identity) and caller.claims:
            caller = replace(caller, claims=VerifiedClaims(_claims(caller.claims, hiding)))
        if isinstance(decision.verdict, Deny):
            verdict = replace(decision.verdict, detail=hiding.text("detail", decision.verdict.detail))
            decision = replace(decision, verdict=verdict)
        return replace(
            outcome,
            case=replace(case, sketch=_sketch(case.sketch, hiding), caller=caller),
            decision=decision,
            mismatches=tuple(_mismatch(mismatch, hiding) for mismatch in outcome.mismatches),
        )

    return shown


def _sketch(sketch: RequestSketch, hiding: Hiding) -> RequestSketch:
    path, question, query = sketch.path.partition("?")
    return replace(
        sketch,
        path=hiding.path(path) + question + hiding.query(query),
        host=hiding.host(sketch.host),
        headers=tuple((name, _header(name, value, hiding)) for name, value in sketch.headers),
        context=tuple((name, hiding.member("context", name, value)) for name, value in sketch.context),
    )


def _header(name: str, value: str, hiding: Hiding) -> str:
    lowered = name.lower()
    return hiding.headers({lowered: (value,)})[lowered][0]


def _claims(claims: Mapping[str, Any], hiding: Hiding) -> dict[str, Any]:
    return {name: _claim(name, value, hiding) for name, value in claims.items()}


def _claim(name: str, value: Any, hiding: Hiding) -> Any:
    if isinstance(value, Mapping):
        return HIDDEN if hiding.hides(name) else _claims(value, hiding)
    if isinstance(value, list | tuple):
        return [_claim(name, item, hiding) for item in value]
    if isinstance(value, str):
        return hiding.member("claims", name, value)
    return HIDDEN if hiding.hides(name) else value


def _mismatch(mismatch: Mismatch, hiding: Hiding) -> Mismatch:
    name = mismatch.what.removeprefix(HEADER)
    if name == mismatch.what:
        return mismatch
    expected, got = (
        _header(name, text, hiding) if text.startswith(("'", '"')) else text
        for text in (mismatch.expected, mismatch.got)
    )
    return replace(mismatch, expected=expected, got=got)
