"""The policies that cover a request, and what follows from that set alone: made once for each set that occurs.

Requests for one host are covered by the same policies, time after time. So what depends on nothing but the set (whose
credentials count, which headers must go, which rules count for callers of a provider) is worked out when the set occurs
for the first time and kept; a decision looks it up. Sets come from hosts and contexts that policies name, never from what
a client makes up, and the memory for them is bounded all the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from extauthz.model import Allow, Deny, Identity
from extauthz.policy.policy import Policy
from extauthz.policy.response import ResponseHeader

__all__ = ["Acceptance", "Headers", "Selection"]

_NO_NAMES = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which rules count for a caller, told by the providers of the token's identity and of the peer's."""

    token: int
    """The rules that count for the token's identity, or for a caller without one."""
    peer: int
    """The rules that count for the peer's identity instead."""
    headers: "Headers"
    """The headers of an allow of the token's identity."""
    peer_headers: "Headers"
    """Those of an allow of the peer's."""
    policies: tuple[Policy, ...]
    """The policies that take one of the callers."""


class Headers(NamedTuple):
    """What an allow does to the headers of the request."""

    told: tuple[tuple[ResponseHeader, bool], ...]
    """Those that have a value, perhaps, each with whether the peer is the caller that it tells of."""
    others: tuple[str, ...]
    """The names that are removed whatever has a value."""


class Selection:
    """The policies of a snapshot that cover one request. False if there are none."""

    __slots__ = (
        "_acceptances",
        "_by_name",
        "_rules_of",
        "_without_mesh",
        "deny",
        "mesh_providers",
        "policies",
        "preflight",
        "providers",
        "removable",
        "removed",
        "rules",
    )

    def __init__(
        self,
        policies: Sequence[Policy],
        rules_of: Sequence[int],
        denies_of: Sequence[int],
        owned_headers: Sequence[str],
    ) -> None:
        """Work out what follows from a set; the masks are those of each policy's rules."""
        self.policies = tuple(policies)
        self._rules_of = tuple(rules_of)
        self._by_name = {policy.name: policy for policy in self.policies}
        self.rules = _union(self._rules_of)
        """All rules that allow, as a mask."""
        self.deny = _union(denies_of)
        """All rules that deny, as a mask."""
        without_mesh = [mask for policy, mask in zip(self.policies, rules_of, strict=True) if not policy.mesh]
        self._without_mesh = _union(without_mesh) if without_mesh else None
        self.providers = None if any(not policy.providers for policy in self.policies) else _names(self.policies)
        """The providers whose credentials count: only theirs are looked for. None: those of any, as a policy names none."""
        self.mesh_providers = _NO_NAMES.union(*(policy.mesh for policy in self.policies))
        """The mesh providers that these policies name; for all others the peer's certificate is no credential."""
        self.preflight = next((policy for policy in self.policies if policy.preflight), None)
        """The policy that lets preflights pass."""
        self.removed = _NO_NAMES.union(*(policy.remove_headers for policy in self.policies))
        self.removable = tuple(sorted({*owned_headers, *self.removed}))
        """Every header name that an allow sets or removes."""
        self._acceptances: dict[tuple[str | None, str | None], Acceptance] = {}

    def __bool__(self) -> bool:
        """Whether any policy covers the request."""
        return bool(self.policies)

    def policy(self, name: str) -> Policy:
        """One of them, by its name."""
        return self._by_name[name]

    def caller(self, verdict: Allow | Deny, identity: Identity | None, peer: Identity | Deny | None) -> Identity | None:
        """Whom a verdict is about: the caller that counts for the policy that allows, else the token's, else the peer's."""
        if not isinstance(peer, Identity):
            return identity
        if isinstance(verdict, Allow):
            return peer if self._by_name[verdict.policy].takes_peer(identity, peer) else identity
        return identity if identity is not None else peer

    def strangers(self, identity: Identity | None, peer: Identity | Deny | None) -> int | None:
        """The rules of the policies to which no credential was shown, as a mask; None if there is no such policy."""
        if identity is not None or not self.policies:
            return None
        return self.rules if peer is None else self._without_mesh

    def acceptance(self, identity: Identity | None, peer: Identity | Deny | None) -> Acceptance:
        """Whose rules count for these callers. It depends on their providers alone, of which there are few."""
        shown = None if peer is None else peer.provider if isinstance(peer, Identity) else ""
        key = (None if identity is None else identity.provider, shown)
        known = self._acceptances.get(key)
        if known is None:
            known = self._acceptances[key] = self._accept(identity, peer)
        return known

    def _accept(self, identity: Identity | None, peer: Identity | Deny | None) -> Acceptance:
        token = seen = 0
        by_token: list[Policy] = []
        by_peer: list[Policy] = []
        taking: list[Policy] = []
        for policy, mask in zip(self.policies, self._rules_of, strict=True):
            if isinstance(peer, Identity) and policy.takes_peer(identity, peer):
                seen |= mask
                by_peer.append(policy)
                taking.append(policy)
            elif identity is None and peer is not None and policy.mesh:
                # A credential of the kind that it asks for was shown, of another provider: that is not to be without any.
                continue
            elif policy.accepts(identity):
                token |= mask
                by_token.append(policy)
                taking.append(policy)
        tokens = [(header, False) for policy in by_token for header in policy.headers]
        peers = [(header, True) for policy in by_peer for header in policy.headers]
        return Acceptance(token, seen, self._headers(tokens + peers), self._headers(peers + tokens), tuple(taking))

    def _headers(self, headers: list[tuple[ResponseHeader, bool]]) -> Headers:
        """The first header of each name, sorted by name: where callers differ, the word of the allowed one counts."""
        by_name: dict[str, tuple[ResponseHeader, bool]] = {}
        for header, of_peer in headers:
            if header.name not in self.removed:
                by_name.setdefault(header.name, (header, of_peer))
        told = tuple(by_name[name] for name in sorted(by_name))
        return Headers(told, tuple(name for name in self.removable if name not in by_name))


def _names(policies: Sequence[Policy]) -> frozenset[str]:
    return _NO_NAMES.union(*(policy.providers for policy in policies))


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found
