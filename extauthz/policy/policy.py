"""A compiled policy: what one document means once nothing of its YAML is left."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from extauthz.errors import Position
from extauthz.model import Identity, Request
from extauthz.policy.patterns import HostPattern, Hosts
from extauthz.policy.response import ResponseHeader
from extauthz.policy.rule import Rule

__all__ = ["Policy", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of ``targets``: hosts and context are AND."""

    patterns: tuple[HostPattern, ...]
    """Empty for any host, and for requests without one."""
    hosts: Hosts | None
    context: Mapping[str, str]
    written: tuple[str, ...]
    """The hosts, for people."""

    def matches(self, request: Request) -> bool:
        """Whether the request is for this target."""
        return self.covers_host(request) and self.covers_context(request)

    def covers_host(self, request: Request) -> bool:
        """Whether its hosts are."""
        return self.hosts is None or request.host in self.hosts

    def covers_context(self, request: Request) -> bool:
        """Whether its context is."""
        return all(request.context.get(key) == value for key, value in self.context.items())

    def overlaps(self, other: "Target") -> bool:
        """Whether some request is for both."""
        if any(other.context.get(key, value) != value for key, value in self.context.items()):
            return False
        if not self.patterns or not other.patterns:
            return True
        return any(mine.overlaps(theirs) for mine in self.patterns for theirs in other.patterns)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is in force, or in shadow mode."""

    name: str
    """``namespace/name``, or the name alone without namespace: what decisions, logs and metrics call it."""
    where: Position
    """Where it was written."""
    shadow: bool
    """Evaluated and told, without effect."""
    targets: tuple[Target, ...]
    """Empty for every request."""
    providers: frozenset[str]
    """Whose callers its rules take; empty for any provider but those of the mesh."""
    mesh_providers: frozenset[str]
    mesh: frozenset[str]
    """Those of ``providers`` that vouch by the peer's certificate: only they make its principal a credential here."""
    optional: bool
    preflight: bool
    deny: tuple[Rule, ...]
    rules: tuple[Rule, ...]
    headers: tuple[ResponseHeader, ...]
    remove_headers: tuple[str, ...]

    @property
    def shadow_rules(self) -> tuple[Rule, ...]:
        """Its rules in shadow mode, those of ``deny`` first."""
        return tuple(rule for rule in (*self.deny, *self.rules) if rule.shadow)

    def matches(self, request: Request) -> bool:
        """Whether the policy covers the request."""
        return not self.targets or any(target.matches(request) for target in self.targets)

    def overlaps(self, other: "Policy") -> bool:
        """Whether some request is covered by both policies."""
        if not self.targets or not other.targets:
            return True
        return any(mine.overlaps(theirs) for mine in self.targets for theirs in other.targets)

    def accepts(self, identity: Identity | None) -> bool:
        """Whether the policy's rules count for this caller; None is one without credentials."""
        if identity is None:
            return self.optional
        if self.providers:
            return identity.provider in self.providers
        return identity.provider not in self.mesh_providers

    def takes_peer(self, identity: Identity | None, peer: Identity) -> bool:
        """Whether the peer's identity is the one that counts: its provider is named, and the token's is not accepted."""
        return peer.provider in self.mesh and (identity is None or not self.accepts(identity))

    @property
    def needs(self) -> frozenset[str]:
        """The names that its expressions may ask for."""
        return frozenset().union(*self._needs())

    def _needs(self) -> Iterable[frozenset[str]]:
        for rule in (*self.deny, *self.rules):
            if rule.when is not None:
                yield rule.when.needs
        for header in self.headers:
            if not header.expression.name:
                yield header.expression.needs
