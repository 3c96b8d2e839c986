"""All findings about a set of policies, sorted by place."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from extauthz.policy import Snapshot
from extauthz.workbench.lint.conditions import condition_findings
from extauthz.workbench.lint.findings import Finding
from extauthz.workbench.lint.providers import ProviderRoles, provider_findings
from extauthz.workbench.lint.rules import policy_findings, set_findings

__all__ = ["lint"]


def lint(
    snapshot: Snapshot,
    providers: Sequence[ProviderRoles],
    *,
    config: str,
    ignore: Collection[str] = (),
    beside: Iterable[Finding] = (),
) -> tuple[Finding, ...]:
    """What looks wrong with policies that load, and ``beside`` them; ``config`` is the file of the providers, ``ignore``
    names codes.
    """
    everything = (*_all(snapshot, providers, config), *beside)
    found = (finding for finding in everything if finding.code not in ignore)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: (finding.where, finding.code, finding.message)))


def _all(snapshot: Snapshot, providers: Sequence[ProviderRoles], config: str) -> Iterator[Finding]:
    policies = (*snapshot.policies, *snapshot.shadows)
    for policy in policies:
        yield from policy_findings(policy)
        for rule in (*policy.deny, *policy.rules):
            yield from condition_findings(rule)
    yield from set_findings(policies)
    yield from provider_findings(policies, providers, config)
