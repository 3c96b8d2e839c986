"""An explanation as one value for JSON: what programs read, and what the tree for people is drawn from.

``explanation.schema.json`` beside this file is its published form. Everything passes ``Hiding`` on its way in, header by
header and then every text once more, so that no output of an explanation can hold what the other one hides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extauthz.capture import HIDDEN, CredentialPlaces
from extauthz.capture.hiding import Hiding, embedded_parameters
from extauthz.check import JourneyExplanation
from extauthz.identity import Step
from extauthz.model import Allow, Charge, Deny, Identity, Peer, Request
from extauthz.policy import EntrySeen, Policy, PolicySeen, RuleSeen, Snapshot
from extauthz.wire import Answer
from extauthz.workbench.explain.asking import Recorded
from extauthz.workbench.explain.hints import hints
from extauthz.workbench.explain.values import condition_values

__all__ = ["Explained", "Redaction", "document"]

VERSION = 1
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is not shown: where credentials are, and what looks like one."""

    places: CredentialPlaces
    mask: Callable[[str], str]
    sensitive: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation with what belongs to it."""

    journey: JourneyExplanation
    snapshot: Snapshot
    answer: Answer | None
    """What the proxy is told; None if an answer can't be made of the decision."""
    recorded: Recorded | None = None
    notes: tuple[str, ...] = ()


def document(explained: Explained, redaction: Redaction) -> dict[str, Any]:
    """The explanation as a value for JSON, without anything that may be a credential."""
    hiding = _hiding(explained, redaction)
    journey = explained.journey
    verdict, decision = journey.decision.verdict, journey.decision
    told: dict[str, Any] = {
        "version": VERSION,
        "decision": "allow" if isinstance(verdict, Allow) else "deny",
        "reason": verdict.reason.word,
        "sentence": verdict.reason.sentence,
        "detail": "" if isinstance(verdict, Allow) else verdict.detail,
        "policy": verdict.policy,
        "rule": verdict.rule,
        "where": _where_of(verdict, explained.snapshot),
        "hints": hints(journey, explained.snapshot),
        "notes": list(explained.notes),
        "recorded": _recorded(explained.recorded, verdict),
        "request": _request(journey, hiding),
        "identity": {
            "steps": [_step(step) for step in journey.steps],
            "caller": _caller(decision.found),
            "peer": _caller(decision.peer),
        },
        "policies": _policies(explained, hiding),
        "answer": None if explained.answer is None else _answer(explained.answer, redaction),
        "charge": _charge(verdict.charge) if isinstance(verdict, Allow) else None,
        "shadows": [
            {
                "policy": shadow.policy,
                "rule": shadow.rule,
                "would": "allow" if isinstance(shadow.verdict, Allow) else "deny",
                "reason": shadow.verdict.reason.word,
                "by": shadow.verdict.rule,
            }
            for shadow in decision.shadows
        ],
    }
    cleaned: dict[str, Any] = _cleaned(told, lambda text: hiding.text("", text))
    return cleaned


def _hiding(explained: Explained, redaction: Redaction) -> Hiding:
    places = redaction.places
    hiding = Hiding(places, mask=redaction.mask, sensitive=redaction.sensitive, embedded=embedded_parameters(places))
    http = explained.journey.sent.http
    if http is not None:
        hiding.learn(http.headers, http.path.partition("?")[2])
    return hiding


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item, clean) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, clean) for item in value]
    return value


def _recorded(recorded: Recorded | None, verdict: Allow | Deny) -> dict[str, Any] | None:
    if recorded is None:
        return None
    now = ("allow" if isinstance(verdict, Allow) else "deny", verdict.reason.word, verdict.policy, verdict.rule)
    then = (recorded.decision, recorded.reason, recorded.policy, recorded.rule)
    words = dict(zip(("decision", "reason", "policy", "rule"), then, strict=True))
    return {"id": recorded.id, **words, "exact": recorded.exact, "same": then == now}


def _request(journey: JourneyExplanation, hiding: Hiding) -> dict[str, Any]:
    """The canonical request, or what was sent of one that has no canonical form."""
    request, sent = journey.request, journey.sent
    ends = {"source": _peer(sent.source), "destination": _peer(sent.destination)}
    rest = {
        "sni": sent.sni,
        "context": {name: hiding.member("context", name, value) for name, value in sent.context.items()},
    }
    if isinstance(request, Request):
        lines = {"method": request.method, "scheme": request.scheme, "host": request.host, "path": request.path}
        query, headers = request.query, request.headers
        kinds = {"grpc": request.grpc, "preflight": request.preflight, "websocket": request.websocket}
        client = "" if request.client_ip is None else str(request.client_ip)
        http = request.http
    else:
        raw = sent.http
        path, _, query = (raw.path if raw else "").partition("?")
        lines = {
            "method": raw.method if raw else "",
            "scheme": raw.scheme if raw else "",
            "host": hiding.host(raw.host) if raw else "",
            "path": path,
        }
        headers = {name: values for name, values in raw.headers.items() if name[:1] != ":"} if raw else {}
        kinds, client, http = dict.fromkeys(("grpc", "preflight", "websocket"), False), "", raw is not None
    lines["path"] = hiding.path(lines["path"])
    shown = {**lines, "query": hiding.query(query), "headers": hiding.headers(headers)}
    return {"canonical": isinstance(request, Request), "http": http, **shown, **ends, "client": client, **rest, **kinds}


def _peer(peer: Peer) -> dict[str, Any]:
    return {"address": peer.address, "port": peer.port, "principal": peer.principal}


def _step(step: Step) -> dict[str, Any]:
    return {
        "about": step.about,
        "asked": step.asked,
        "holds": step.holds,
        "value": step.value,
        "fault": step.fault,
    }


def _caller(found: Identity | Deny | None) -> dict[str, Any] | None:
    """Who was proven. Claims are told where a condition reads them, and nowhere else."""
    if found is None:
        return None
    if isinstance(found, Deny):
        return {"refused": found.reason.word, "detail": found.detail, "provider": found.provider}
    return {
        "subject": found.subject,
        "issuer": found.issuer,
        "provider": found.provider,
        "roles": sorted(found.roles),
        "scopes": list(found.scopes),
        "expires": found.expires,
    }


def _policies(explained: Explained, hiding: Hiding) -> list[dict[str, Any]]:
    told, snapshot = explained.journey.policy, explained.snapshot
    loaded = {policy.name: policy for policy in (*snapshot.policies, *snapshot.shadows)}
    if told is not None:
        return [_policy(seen, loaded[seen.policy], hiding) for seen in told.policies]
    selection = explained.journey.selection
    # Nobody asked them; who covers the request is known all the same.
    return [_head(policy, covers=True) | {"asked": False} for policy in (selection.policies if selection else ())]


def _head(policy: Policy, *, covers: bool) -> dict[str, Any]:
    return {
        "policy": policy.name,
        "where": str(policy.where),
        "mode": "Shadow" if policy.shadow else "Enforce",
        "covers": covers,
        "providers": sorted(policy.providers),
        "optional": policy.optional,
    }


def _policy(seen: PolicySeen, policy: Policy, hiding: Hiding) -> dict[str, Any]:
    places = {rule.name: str(rule.where) for rule in (*policy.deny, *policy.rules)}
    return _head(policy, covers=seen.covers) | {
        "asked": True,
        "accepts": seen.accepts,
        "targets": [_entry(entry) for entry in seen.targets],
        "deny": [_rule(rule, places[rule.rule], hiding) for rule in seen.deny],
        "rules": [_rule(rule, places[rule.rule], hiding) for rule in seen.rules],
    }


def _rule(seen: RuleSeen, where: str, hiding: Hiding) -> dict[str, Any]:
    when, rate = seen.condition, seen.rate
    return {
        "rule": seen.rule,
        "where": where,
        "shadow": seen.shadow,
        "matched": seen.matched,
        "stopped_at": None if seen.stage.name == "MATCHED" or seen.matched else seen.stage.name.lower(),
        "caller": seen.caller,
        "to": _entries(seen.to),
        "from": _entries(seen.sources),
        "roles": None if seen.roles is None else list(seen.roles),
        "when": None
        if when is None
        else {
            "source": when.source,
            "holds": when.holds,
            "error": when.error,
            "values": condition_values(when.source, when.values, hiding),
        },
        "rate": None if rate is None else {"per_minute": rate.per_minute, "burst": rate.burst},
    }


def _entries(entries: Sequence[EntrySeen] | None) -> list[dict[str, Any]] | None:
    return None if entries is None else [_entry(entry) for entry in entries]


def _entry(entry: EntrySeen) -> dict[str, Any]:
    words = [
        {"word": word.word, "written": list(word.written), "value": word.value, "holds": word.holds}
        for word in entry.words
    ]
    return {"holds": entry.holds, "words": words}


def _answer(answer: Answer, redaction: Redaction) -> dict[str, Any]:
    """What the proxy is told. A policy may pass a credential on: it is known by its header's name, or as it was learned."""
    places = redaction.places.headers
    headers = {
        name: HIDDEN if name in places or redaction.sensitive(name) else value
        for name, value in answer.headers
        if name != "www-authenticate"
    }
    challenge = {name: value for name, value in answer.headers if name == "www-authenticate"}
    return {
        "status": answer.status,
        "headers": {**challenge, **headers},
        "removed_headers": list(answer.removed_headers),
        "removed_parameters": list(answer.removed_parameters),
        "body": answer.body,
    }


def _charge(charge: Charge | None) -> dict[str, Any] | None:
    if charge is None:
        return None
    return {
        "policy": charge.policy,
        "rule": charge.rule,
        "per_minute": charge.rate.per_minute,
        "burst": charge.rate.burst,
        "shadow": charge.shadow,
    }


def _where_of(verdict: Allow | Deny, snapshot: Snapshot) -> str:
    """The place of the rule, or of the policy, that a verdict names; empty if it names none."""
    for policy in snapshot.policies:
        if policy.name == verdict.policy:
            rules = (*policy.deny, *policy.rules)
            return str(next((rule.where for rule in rules if rule.name == verdict.rule), policy.where))
    return ""
