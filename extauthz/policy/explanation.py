"""What every policy and rule makes of one request: the same questions that decide, asked one by one and written down.

A decision stops at the first answer; an explanation asks everything. Both ask the same objects: the words of an entry, a
rule's ``reach`` and ``judge``, a condition's ``holds``. Only the order and the masks, which spare a decision most of the
asking, are not here; a property test holds the outcomes of the two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extauthz.model import Allow, Deny, Rate, Request
from extauthz.policy.callers import Callers
from extauthz.policy.facts import Facts
from extauthz.policy.policy import Policy, Target
from extauthz.policy.rule import Rule, Stage
from extauthz.policy.words import Entry

__all__ = ["ConditionSeen", "EntrySeen", "PolicyExplanation", "PolicySeen", "RuleSeen", "WordSeen", "policy_seen"]


@dataclass(frozen=True, slots=True)
class WordSeen:
    """One word of an entry."""

    word: str
    """As it is written: ``paths``, ``notIpBlocks``, ``context.app``."""
    written: tuple[str, ...]
    value: str
    """What the request has; empty if it is absent."""
    holds: bool


@dataclass(frozen=True, slots=True)
class EntrySeen:
    """One entry of ``targets``, ``to`` or ``from``."""

    words: tuple[WordSeen, ...]
    holds: bool


@dataclass(frozen=True, slots=True)
class ConditionSeen:
    """A ``when``."""

    source: str
    holds: bool | None
    """None: it gave no value."""
    error: str
    """The status word of its error; empty if there was none."""
    values: Mapping[str, Any]
    """The names that it may ask for, with their values; what is absent is not in it."""


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """A rule of ``rules`` or ``deny``."""

    policy: str
    rule: str
    deny: bool
    shadow: bool
    stage: Stage
    """How far the request got along it."""
    matched: bool
    """Whether it counts: it allows this caller, or denies."""
    caller: str
    """Who it was asked for: ``token``, ``peer`` or ``anonymous``; empty if its policy takes none of them."""
    to: tuple[EntrySeen, ...] | None
    """The entries that can mean a request of this kind; None for any request."""
    sources: tuple[EntrySeen, ...] | None
    roles: tuple[str, ...] | None
    condition: ConditionSeen | None
    rate: Rate | None


@dataclass(frozen=True, slots=True)
class PolicySeen:
    """A policy."""

    policy: str
    shadow: bool
    covers: bool
    """Whether one of its targets is for the request."""
    targets: tuple[EntrySeen, ...]
    accepts: str
    """Who its rules count for: ``token``, ``peer`` or ``anonymous``; empty for none of the callers."""
    deny: tuple[RuleSeen, ...]
    rules: tuple[RuleSeen, ...]


@dataclass(frozen=True, slots=True)
class PolicyExplanation:
    """The verdict, and every policy sorted by name, those in shadow mode last."""

    verdict: Allow | Deny
    policies: tuple[PolicySeen, ...]


def policy_seen(policy: Policy, callers: Callers) -> PolicySeen:
    """What a policy makes of a request and its callers."""
    request = callers.facts.request
    accepted = callers.accepted_by(policy)
    return PolicySeen(
        policy=policy.name,
        shadow=policy.shadow,
        covers=policy.matches(request),
        targets=tuple(_target(target, request) for target in policy.targets),
        accepts=_caller(accepted, callers),
        deny=tuple(_deny(rule, policy, callers) for rule in policy.deny),
        rules=tuple(_rule(rule, accepted, callers) for rule in policy.rules),
    )


def _target(target: Target, request: Request) -> EntrySeen:
    words = [WordSeen("hosts", target.written, request.host, target.covers_host(request))] if target.written else []
    for key, value in target.context.items():
        found = request.context.get(key)
        words.append(WordSeen(f"context.{key}", (value,), found or "", found == value))
    return EntrySeen(tuple(words), target.matches(request))


def _deny(rule: Rule, policy: Policy, callers: Callers) -> RuleSeen:
    matched = callers.denial(rule, policy) is not None
    asked = callers.asked_by(policy)
    facts = next((facts for facts in asked if rule.denial(facts) is not None), asked[0])
    return _seen(rule, rule.judge(facts), facts, _caller(facts, callers), matched=matched)


def _rule(rule: Rule, accepted: Facts | None, callers: Callers) -> RuleSeen:
    facts = callers.facts if accepted is None else accepted
    stage = rule.judge(facts)
    matched = accepted is not None and stage is Stage.MATCHED
    return _seen(rule, stage, facts, _caller(accepted, callers), matched=matched)


def _seen(rule: Rule, stage: Stage, facts: Facts, caller: str, *, matched: bool) -> RuleSeen:
    return RuleSeen(
        policy=rule.policy,
        rule=rule.name,
        deny=rule.deny,
        shadow=rule.shadow,
        stage=stage,
        matched=matched,
        caller=caller,
        to=_entries(rule.operations(facts), facts.request),
        sources=_entries(rule.sources, facts.request),
        roles=None if rule.roles is None else tuple(sorted(rule.roles)),
        condition=_condition(rule, facts),
        rate=None if rule.meter is None else rule.meter.rate,
    )


def _entries(entries: tuple[Entry, ...] | None, request: Request) -> tuple[EntrySeen, ...] | None:
    if entries is None:
        return None
    return tuple(
        EntrySeen(
            tuple(WordSeen(word.name, word.written, word.value(request), word.holds(request)) for word in entry.words),
            entry.matches(request),
        )
        for entry in entries
    )


def _condition(rule: Rule, facts: Facts) -> ConditionSeen | None:
    when = rule.when
    if when is None:
        return None
    holds = when.holds(facts.bound)
    error = when.error(facts.bound) if holds is None else ""
    values = {name: value for name in sorted(when.needs) if (value := facts.value(name)) is not None}
    return ConditionSeen(when.source, holds, error, values)


def _caller(facts: Facts | None, callers: Callers) -> str:
    if facts is None:
        return ""
    if facts is callers.known:
        return "peer"
    return "anonymous" if facts.identity is None else "token"
