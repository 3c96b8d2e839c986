"""Findings about who vouches for callers: roles that nobody can give, providers that nobody asks for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from extauthz.errors import Position
from extauthz.model import ANONYMOUS
from extauthz.policy import Policy
from extauthz.workbench.lint.findings import Finding

__all__ = ["ProviderRoles", "provider_findings"]


@dataclass(frozen=True, slots=True)
class ProviderRoles:
    """What a provider's callers can be."""

    name: str
    mesh: bool
    roles: frozenset[str] | None
    """The roles that it can give, inclusions included; None: any."""


def provider_findings(policies: Sequence[Policy], providers: Sequence[ProviderRoles], config: str) -> Iterator[Finding]:
    """Roles and providers that don't meet; ``config`` is the file that providers are written in."""
    known = {provider.name: provider for provider in providers}
    for policy in policies:
        yield from _unknown_roles(policy, known)
    if not policies:
        return
    for provider in providers:
        if not any(_asks_for(policy, provider) for policy in policies):
            yield Finding(
                "unused-provider",
                Position(config),
                f"provider {provider.name!r} vouches for callers whom no policy takes",
                "name it in authentication.providers of a policy, or remove it",
            )


def _asks_for(policy: Policy, provider: ProviderRoles) -> bool:
    return provider.name in policy.providers if policy.providers or provider.mesh else True


def _unknown_roles(policy: Policy, known: Mapping[str, ProviderRoles]) -> Iterator[Finding]:
    asked = [provider for provider in known.values() if _asks_for(policy, provider)]
    if not asked or any(provider.roles is None for provider in asked):
        return
    possible = frozenset[str]().union(*(provider.roles or () for provider in asked))
    for rule in (*policy.deny, *policy.rules):
        for role in sorted((rule.roles or frozenset()) - possible - {ANONYMOUS}):
            close = get_close_matches(role, sorted(possible), n=1)
            names = ", ".join(sorted(provider.name for provider in asked))
            yield Finding(
                "unknown-role",
                rule.where,
                f"rule {rule.name!r} asks for role {role!r}, which none of its providers ({names}) can give",
                f"did you mean {close[0]!r}?" if close else "add it to roles.map or roles.mayGrant of a provider",
            )
