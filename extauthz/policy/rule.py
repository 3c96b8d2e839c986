"""Rules: to -> from -> role -> when, and how far along a request gets.

The same rule means two things. Among ``rules`` it allows, so whatever is in doubt must not match; in ``deny`` it forbids,
so whatever is in doubt must match. The differences are all here and all follow from that:

=====================================  ==================  =================
in doubt                               allow               deny
=====================================  ==================  =================
not* word, attribute absent            no match            match
client address can't be told           no match            match
``/x`` asked for as ``/x/``            no match            match
rule without ``role``                  any identity        everybody
no HTTP (TCP)                          just ports          any entry
CONNECT                                named in methods    any entry
``when`` gives an error                no match            denied
=====================================  ==================  =================

A positive word never matches what is absent, on either side.
"""

from dataclasses import dataclass
from enum import IntEnum

from extauthz.model import Deny, Reason
from extauthz.policy.expression import Condition
from extauthz.policy.facts import Facts
from extauthz.policy.paths import Paths
from extauthz.policy.patterns import Hosts, Networks, Principals

__all__ = ["Operation", "Rule", "Source", "Stage"]


class Stage(IntEnum):
    """How far a request got along a rule, in order; the first part that fails names it."""

    TO = 0
    FROM = 1
    ROLE = 2
    WHEN = 3
    MATCHED = 4


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of ``to``: all of its words must match. None stands for a word that is not there."""

    deny: bool
    hosts: Hosts | None = None
    not_hosts: Hosts | None = None
    ports: frozenset[int] | None = None
    not_ports: frozenset[int] | None = None
    methods: frozenset[str] | None = None
    not_methods: frozenset[str] | None = None
    paths: Paths | None = None
    not_paths: Paths | None = None

    @property
    def just_ports(self) -> bool:
        """Whether it speaks of nothing but ports, so that it can mean a request without HTTP."""
        others = (self.hosts, self.not_hosts, self.methods, self.not_methods, self.paths, self.not_paths)
        return all(word is None for word in others)

    @property
    def names_connect(self) -> bool:
        """Whether CONNECT is one of its methods."""
        return self.methods is not None and "CONNECT" in self.methods

    def matches(self, facts: Facts) -> bool:
        """Whether the operation that is asked for is this one. What is absent is in no set."""
        request = facts.request
        host, port, method, path = request.host, request.destination.port, request.method, request.path
        if self.hosts is not None and host not in self.hosts:
            return False
        if self.ports is not None and port not in self.ports:
            return False
        if self.methods is not None and method not in self.methods:
            return False
        if self.paths is not None and path not in self.paths:
            return False
        deny = self.deny
        if self.not_hosts is not None and (host in self.not_hosts if host else not deny):
            return False
        if self.not_ports is not None and (port in self.not_ports if port else not deny):
            return False
        if self.not_methods is not None and (method in self.not_methods if method else not deny):
            return False
        return self.not_paths is None or not (path in self.not_paths if path else not deny)


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of ``from``: all of its words must match. None stands for a word that is not there."""

    deny: bool
    principals: Principals | None = None
    not_principals: Principals | None = None
    ip_blocks: Networks | None = None
    not_ip_blocks: Networks | None = None
    remote_ip_blocks: Networks | None = None
    not_remote_ip_blocks: Networks | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether the peer and the client are these ones."""
        request = facts.request
        principal, peer, client = request.source.principal, request.source_ip, request.client_ip
        deny = self.deny
        if self.principals is not None and principal not in self.principals:
            return False
        if self.ip_blocks is not None and peer not in self.ip_blocks:
            # An address that is there but can't be read might be in the blocks: unknown denies. That of a unix socket
            # is absent, not unknown.
            unreadable = peer is None and request.source.address != ""
            if not (deny and unreadable):
                return False
        if self.remote_ip_blocks is not None and client not in self.remote_ip_blocks and not (deny and client is None):
            # Likewise: a client whose address can't be told might be the one that is meant, so a deny takes it for that.
            return False
        if self.not_principals is not None and (principal in self.not_principals if principal else not deny):
            return False
        if self.not_ip_blocks is not None and (peer in self.not_ip_blocks if peer is not None else not deny):
            return False
        excluded = self.not_remote_ip_blocks
        return excluded is None or not (client in excluded if client is not None else not deny)


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule of ``rules`` or ``deny``."""

    policy: str
    name: str
    deny: bool
    roles: frozenset[str] | None
    to: tuple[Operation, ...] | None
    to_without_http: tuple[Operation, ...] | None
    """The entries that can mean a request without HTTP; None for any."""
    to_connect: tuple[Operation, ...] | None
    """The entries that can mean a CONNECT; None for any."""
    sources: tuple[Source, ...] | None
    when: Condition | None
    wants_credentials: bool
    """Somebody with credentials could match it, as it does not ask for role ``anonymous`` alone."""
    denials: tuple[Deny, ...]
    """The denial for each stage that a request may stop at, made once."""

    def judge(self, facts: Facts) -> Stage:
        """How far a request gets along a rule that allows."""
        stage = self.reach(facts)
        if stage is Stage.WHEN and (self.when is None or self.when.holds(facts.bound) is True):
            return Stage.MATCHED
        return stage

    def reach(self, facts: Facts) -> Stage:
        """How far a request gets before the condition is asked."""
        request = facts.request
        if not request.http:
            operations = self.to_without_http
        elif request.method == "CONNECT":
            operations = self.to_connect
        else:
            operations = self.to
        if operations is not None and not _any_matches(operations, facts):
            return Stage.TO
        if self.sources is not None and not _any_matches(self.sources, facts):
            return Stage.FROM
        if self.roles is None:
            taken = self.deny or facts.identity is not None
        else:
            taken = not self.roles.isdisjoint(facts.roles)
        return Stage.WHEN if taken else Stage.ROLE

    def refusal(self, stage: Stage, facts: Facts) -> Deny:
        """The denial of a request that got this far along a rule that allows, and no further."""
        if stage is Stage.WHEN and self.when is not None and self.when.holds(facts.bound) is None:
            return self._unevaluated(self.when, facts)
        return self.denials[stage]

    def denial(self, facts: Facts) -> Deny | None:
        """For a rule of ``deny``: the denial if it matches or if its condition errs, else None."""
        if self.reach(facts) is not Stage.WHEN:
            return None
        if self.when is not None:
            holds = self.when.holds(facts.bound)
            if holds is None:
                return self._unevaluated(self.when, facts)
            if not holds:
                return None
        return self.denials[Stage.MATCHED]

    def could_deny(self, facts: Facts) -> bool:
        """For a rule of ``deny``: whether it may match a caller of whom nothing is known but that there is one."""
        if self.reach(facts) < Stage.ROLE:
            return False
        when = self.when
        if when is None or when.asks_for_caller:
            return when is not None or self.roles is not None
        return self.roles is not None and when.holds(facts.bound) is not False

    def _unevaluated(self, when: Condition, facts: Facts) -> Deny:
        detail = f"`when` gave no value but the error {when.error(facts.bound)}"
        return Deny(Reason.CONDITION_ERROR, detail, policy=self.policy, rule=self.name)


def _any_matches(entries: tuple[Operation, ...] | tuple[Source, ...], facts: Facts) -> bool:
    """Whether one of the entries matches; a loop, because a generator costs as much as the match itself."""
    for entry in entries:  # noqa: SIM110
        if entry.matches(facts):
            return True
    return False
