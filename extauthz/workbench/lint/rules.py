"""Findings about rules by themselves and among each other: what can't match, what is denied before, what is said twice."""

from collections.abc import Iterator, Sequence

from extauthz.model import ANONYMOUS
from extauthz.policy import Policy, Rule
from extauthz.policy.paths import PathPattern
from extauthz.policy.patterns import HostPattern
from extauthz.policy.words import Entry
from extauthz.workbench.lint.containment import covers_entry, covers_host, covers_path, impossible
from extauthz.workbench.lint.findings import Finding

__all__ = ["policy_findings", "set_findings"]

_ANY_HOST = HostPattern("", below=True)


def policy_findings(policy: Policy) -> Iterator[Finding]:
    """What a policy's own text tells."""
    if not policy.rules:
        yield Finding(
            "allows-nothing",
            policy.where,
            f"policy {policy.name!r} has no rules, so it allows nothing",
            "add a rule, unless it is there for its deny alone",
        )
    for rule in (*policy.deny, *policy.rules):
        why, mend = _never(rule, policy)
        if why:
            yield Finding("never-matches", rule.where, f"rule {rule.name!r} can't match: {why}", mend)
    yield from _duplicates(policy)
    for rule in policy.deny:
        yield from _twins(rule, policy)


def _never(rule: Rule, policy: Policy) -> tuple[str, str]:
    """Why a rule can't match, and the mend; empty if it might."""
    if not rule.deny and rule.roles == frozenset({ANONYMOUS}) and not policy.optional:
        told = "it is for callers without credentials, and its policy takes none"
        return told, "set authentication.optional: true, or name another role"
    if rule.to is not None:
        reasons = [_impossible_operation(entry, policy) for entry in rule.to]
        if all(reasons):
            return reasons[0], "change or remove the entry of `to`"
    if rule.sources is not None:
        excluded = [impossible(entry) for entry in rule.sources]
        if all(excluded):
            return f"{excluded[0]} takes away all that the entry names", "change or remove the entry of `from`"
    return "", ""


def _impossible_operation(entry: Entry, policy: Policy) -> str:
    word = impossible(entry)
    if word:
        return f"{word} takes away all that the entry names"
    methods, paths, hosts = entry.word("methods"), entry.word("paths"), entry.word("hosts")
    if methods is not None and paths is not None and set(methods.asked) == {"CONNECT"}:
        return "a CONNECT request has no path"
    if hosts is not None and policy.targets:
        targets = [pattern for target in policy.targets for pattern in target.patterns or (_ANY_HOST,)]
        if not any(host.overlaps(target) for host in hosts.asked for target in targets):
            return "its hosts are outside of the policy's targets"
    return ""


def _duplicates(policy: Policy) -> Iterator[Finding]:
    for rules in (policy.deny, policy.rules):
        seen: dict[object, Rule] = {}
        for rule in rules:
            first = seen.setdefault(_sense(rule), rule)
            if first is not rule:
                yield Finding(
                    "duplicate-rule",
                    rule.where,
                    f"rule {rule.name!r} says what {first.name!r} at {first.where} says",
                    "remove one of them",
                )


def _sense(rule: Rule) -> object:
    """What a rule says, whatever it is called."""
    meter = rule.meter
    return (
        rule.shadow,
        rule.roles,
        rule.when and rule.when.source.strip(),
        None if meter is None else (meter.rate, meter.per, meter.claim, meter.shadow),
        *(
            None
            if entries is None
            else frozenset(frozenset((word.name, word.asked) for word in entry.words) for entry in entries)
            for entries in (rule.to, rule.sources)
        ),
    )


def _twins(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """Paths whose neighbours a client can ask for instead."""
    denied = [path for other in policy.deny for entry in other.to or () for path in _paths(entry)]
    allowed: list[PathPattern | None] = []
    for other in policy.rules:
        for entry in other.to or (Entry(()),):
            allowed += _paths(entry) if entry.word("paths") else [None]
    for entry in rule.to or ():
        for path in _paths(entry):
            if path.rest or path.segments == ("",):
                continue
            if path.segments[-1] == "":
                bare = PathPattern(path.segments[:-1], rest=False)
                if not any(covers_path(other, bare, tolerant=True) for other in denied) and _allows(allowed, bare):
                    yield Finding(
                        "deny-leaves-twin",
                        rule.where,
                        f"rule {rule.name!r} denies {str(path)!r} and not {str(bare)!r}, which most servers take for the same",
                        f"write {str(bare)!r}, which means both here",
                    )
                continue
            below = PathPattern(path.segments, rest=True)
            if not any(covers_path(other, below, tolerant=True) for other in denied) and _allows(allowed, below):
                yield Finding(
                    "deny-leaves-children",
                    rule.where,
                    f"rule {rule.name!r} denies {str(path)!r}, and a rule allows what is below it",
                    f"write {str(below)!r} to deny both",
                )


def _paths(entry: Entry) -> Sequence[PathPattern]:
    word = entry.word("paths")
    return () if word is None else word.asked


def _allows(allowed: Sequence[PathPattern | None], path: PathPattern) -> bool:
    """Whether a rule allows all that a pattern matches; one without paths allows everything."""
    return any(other is None or covers_path(other, path, tolerant=False) for other in allowed)


def set_findings(policies: Sequence[Policy]) -> Iterator[Finding]:
    """What several policies tell together: rules of which another's deny leaves nothing."""
    denies = [
        (policy, rule)
        for policy in policies
        for rule in policy.deny
        if not rule.shadow and rule.when is None and rule.sources is None and not policy.shadow
    ]
    for policy in policies:
        for rule in policy.rules:
            deny = next((deny for owner, deny in denies if _denies_all(deny, owner, rule, policy)), None)
            if deny is not None:
                yield Finding(
                    "shadowed-by-deny",
                    rule.where,
                    f"whatever rule {rule.name!r} allows, {deny.name!r} of policy {deny.policy!r} at {deny.where} denies before",
                    "narrow the deny, or remove the rule",
                )


def _denies_all(deny: Rule, owner: Policy, rule: Rule, policy: Policy) -> bool:
    if policy.shadow or not _covers_targets(owner, policy):
        return False
    if deny.roles is not None and (rule.roles is None or not rule.roles <= deny.roles):
        return False
    if deny.to is None:
        return True
    return rule.to is not None and all(any(covers_entry(wide, entry) for wide in deny.to) for entry in rule.to)


def _covers_targets(wide: Policy, narrow: Policy) -> bool:
    """Whether a policy covers every request that another covers."""
    if wide is narrow or not wide.targets:
        return True
    return bool(narrow.targets) and all(
        any(
            one.context.items() <= other.context.items()
            and (
                not one.patterns
                or (other.patterns and all(any(covers_host(a, b) for a in one.patterns) for b in other.patterns))
            )
            for one in wide.targets
        )
        for other in narrow.targets
    )
