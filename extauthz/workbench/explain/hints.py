"""What would have to be different: one or two sentences that save a tired person from reading the whole tree.

A hint says what is, and what a rule asks for instead. It advises nobody to open a door: which of the two is wrong, the
request or the policy, only people know.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from extauthz.check import JourneyExplanation
from extauthz.identity import Step
from extauthz.model import Deny, Identity, Reason
from extauthz.policy import EntrySeen, PolicySeen, RuleSeen, Snapshot, Stage
from extauthz.workbench.explain.values import absent_members

__all__ = ["hints"]

_NAMED = 5
_MEND = {
    Reason.PATH_AMBIGUOUS: "send the path as it should be read; what of it may be accepted is under `request` in the configuration",
    Reason.HOST_INVALID: "send one host name; ports are ignored, and Host must equal :authority",
    Reason.TOKEN_EXPIRED: "get a new token",
    Reason.TOKEN_REVOKED: "get a new credential",
    Reason.TOKEN_NOT_YET_VALID: "compare the clocks of the issuer and of this machine (clockSkew)",
    Reason.ISSUER_UNKNOWN: "`iss` must equal the issuer of a provider, to the final slash",
    Reason.KEYS_UNAVAILABLE: "the provider's keys must be reachable from here",
    Reason.CREDENTIALS_AMBIGUOUS: "send one credential, in one place",
}


def hints(journey: JourneyExplanation, snapshot: Snapshot) -> list[str]:
    """What would change the answer to a denied request; empty for one that is allowed."""
    verdict = journey.decision.verdict
    if not isinstance(verdict, Deny):
        return []
    told = list(_of_steps(journey.steps)) if isinstance(journey.decision.found, Deny) else []
    policies = [] if journey.policy is None else [seen for seen in journey.policy.policies if not seen.shadow]
    covering = [seen for seen in policies if seen.covers]
    match verdict.reason:
        case Reason.NO_POLICY:
            told += _no_policy(policies)
        case Reason.ROLE_MISSING:
            told += _role_missing(covering, journey.decision.identity)
        case Reason.NO_CREDENTIALS:
            told += _no_credentials(covering)
        case Reason.NO_RULE:
            told += _no_rule(covering, verdict, journey.decision.identity)
        case Reason.DENIED_BY_RULE:
            told += _denied(covering, verdict)
        case Reason.CONDITION_ERROR:
            told += _unevaluated(covering, verdict)
        case _:
            pass
    if verdict.reason in _MEND:
        told.append(_MEND[verdict.reason])
    if verdict.reason is Reason.NO_POLICY and not snapshot.policies:
        told = ["no policy is in force; without one every request is denied"]
    return told


def _of_steps(steps: Iterable[Step]) -> Iterable[str]:
    """The check that failed, with what it asks for and what was there; a provider's plain no says all by itself."""
    failed = [step for step in steps if step.holds is False and step.about not in ("answer", "caller")]
    if failed:
        step = failed[-1]
        has = f", and it has {step.value}" if step.value else ""
        yield f"what failed: {step.asked}{has}"


def _no_policy(policies: list[PolicySeen]) -> Iterable[str]:
    words = [(seen.policy, word) for seen in policies for entry in seen.targets for word in entry.words]
    hosts = [(name, word) for name, word in words if word.word == "hosts"]
    if not hosts:
        return
    value = hosts[0][1].value or "(none)"
    written = sorted({pattern for _, word in hosts for pattern in word.written})
    close = get_close_matches(value, written, n=1)
    if any(word.holds for _, word in hosts):
        yield "the host is covered, and the route's context_extensions are not those that the targets name"
    elif close:
        yield f"the host is {value}; a policy covers {close[0]}"
    else:
        yield f"the host is {value}; policies cover {_some(written)}"


def _role_missing(covering: list[PolicySeen], caller: Identity | None) -> Iterable[str]:
    rules = [rule for rule in _rules(covering) if rule.stage is Stage.ROLE and rule.roles and rule.caller]
    has = _some(sorted(caller.roles)) if caller and caller.roles else "none"
    if rules:
        wanted = sorted({role for rule in rules for role in rule.roles or ()})
        yield f"the caller has [{has}]; {_named(rules)} for {_some(wanted, ' or ')}"


def _no_credentials(covering: list[PolicySeen]) -> Iterable[str]:
    rules = [rule for rule in _rules(covering) if rule.stage >= Stage.ROLE]
    wanted = sorted({role for rule in rules for role in rule.roles or ()} - {"anonymous"})
    if wanted:
        yield f"send a credential of a caller with role {_some(wanted, ' or ')}: {_named(rules)} for it"
    else:
        yield "send a credential: a rule could allow the request to a known caller"


def _no_rule(covering: list[PolicySeen], verdict: Deny, caller: Identity | None) -> Iterable[str]:
    taking = [seen for seen in covering if seen.accepts]
    if not taking and covering:
        who = "a caller without credentials" if caller is None else f"callers of {caller.provider}"
        yield f"none of the policies that cover the request takes {who}"
        return
    rules = [rule for rule in _rules(taking) if not rule.shadow]
    named = next((rule for rule in rules if (rule.policy, rule.rule) == (verdict.policy, verdict.rule)), None)
    if named is not None and named.stage is Stage.WHEN and named.condition is not None:
        yield f"rule {named.rule} matches but for its condition: {named.condition.source}"
    elif named is not None and named.stage is Stage.FROM:
        yield f"rule {named.rule} is for others: {_misfit(named.sources)}"
    else:
        nearest = min((rule for rule in rules if rule.to), key=_distance, default=None)
        if nearest is not None:
            yield f"the nearest is rule {nearest.rule}: {_misfit(nearest.to)}"
        elif not rules:
            yield "the policies that cover the request have no rule that allows anything"


def _denied(covering: list[PolicySeen], verdict: Deny) -> Iterable[str]:
    for seen in covering:
        for rule in seen.deny:
            if (rule.policy, rule.rule) == (verdict.policy, verdict.rule):
                matching = next((entry for entry in rule.to or () if entry.holds), None)
                because = "" if matching is None else f": {_words(matching)}"
                yield f"deny rule {rule.rule} matches the request{because}; a deny counts before all rules, for everybody"


def _unevaluated(covering: list[PolicySeen], verdict: Deny) -> Iterable[str]:
    """What the condition could not read."""
    rules = [rule for seen in covering for rule in (*seen.deny, *seen.rules)]
    for rule in rules:
        when = rule.condition
        if (rule.policy, rule.rule) == (verdict.policy, verdict.rule) and when is not None and when.holds is None:
            absent = absent_members(when.source, when.values)
            if absent:
                yield f"not there: {_some(absent)}"
            break
    yield 'a condition may ask first whether a value is there: has(claims.x) && ..., "x" in request.headers && ...'


def _rules(policies: list[PolicySeen]) -> list[RuleSeen]:
    return [rule for seen in policies for rule in seen.rules]


def _distance(rule: RuleSeen) -> int:
    """How many words of its best entry do not hold."""
    return min((sum(not word.holds for word in entry.words) for entry in rule.to or ()), default=_NAMED)


def _misfit(entries: tuple[EntrySeen, ...] | None) -> str:
    """The words that do not hold, of the entry that is nearest."""
    if not entries:
        return "no entry of it can mean such a request"
    entry = min(entries, key=lambda entry: sum(not word.holds for word in entry.words))
    told = [
        f"{word.word} {_some(word.written, ' or ')}, and the request has {word.value or 'none'}"
        for word in entry.words
        if not word.holds
    ]
    return "; ".join(told)


def _words(entry: EntrySeen) -> str:
    return ", ".join(f"{word.word} {_some(word.written, ' or ')} ({word.value})" for word in entry.words)


def _named(rules: list[RuleSeen]) -> str:
    names = list(dict.fromkeys(rule.rule for rule in rules))
    return f"{'rule' if len(names) == 1 else 'rules'} {_some(names)} {'asks' if len(names) == 1 else 'ask'}"


def _some(words: Iterable[str], between: str = ", ") -> str:
    """The first few of them."""
    listed = list(words)
    more = [f"{len(listed) - _NAMED} more"] if len(listed) > _NAMED else []
    return between.join([*listed[:_NAMED], *more])
