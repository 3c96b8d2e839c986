"""Which workloads an object of Istio is for, and what that means for requests that don't say where they go.

Istio chooses workloads by namespace and labels; those of the root namespace are for the whole mesh. Two objects meet
where their workloads do: a policy's rules see the tokens of a RequestAuthentication only where both apply.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Authentication", "Scope"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which requests the converted policies are for."""

    hosts: tuple[str, ...] = ()
    """Of all of them; empty for any."""
    workloads: bool = True
    """Policies that allow ask for namespace and labels in the route's context; False: the documents were chosen for what
    asks this server."""
    root: str = "istio-system"
    """The namespace whose policies are for the whole mesh."""
    namespace: str = ""
    """Of objects that name none; empty if that is not known."""
    trust_domains: tuple[str, ...] = ("cluster.local",)
    """Of the mesh, and its aliases after it: what ``cluster.local`` stands for in principals."""
    this_server: tuple[str, ...] = ()
    """Names of extension providers that are this server: policies that delegate to them are left out."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """Where the tokens of some providers are looked at."""

    providers: frozenset[str]
    namespace: str
    labels: Mapping[str, str]
    elsewhere: bool
    """It is for gateways or waypoints that it names."""

    def covers(self, namespace: str, labels: Mapping[str, str], root: str, *, whole: bool) -> bool:
        """Whether it covers every workload that a policy of this namespace with these labels covers.

        ``whole``: the policy is for gateways or waypoints that it names.
        """
        near = self.namespace in (namespace, root)
        return near and not self.elsewhere and not (whole and self.labels) and self.labels.items() <= labels.items()
