"""What the configuration says about policies, and the texts that they are written in.

The policy room reads no configuration and no files: the application plugs both in as the two values below. So the same
room serves the server, the commands and tests, and a snapshot depends on nothing but its arguments.
"""

from dataclasses import dataclass

__all__ = ["PolicySettings", "PolicyText"]


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One file of policies: YAML with any number of documents."""

    file: str
    """The name that problems are told with."""
    text: str


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The parts of the configuration that change what a policy document means or may say."""

    group: str = "security.example.com"
    """The API group: documents have ``apiVersion: <group>/v1``."""
    providers: frozenset[str] = frozenset()
    """Names of the configured identity providers."""
    mesh_providers: frozenset[str] = frozenset()
    """Those among them that vouch by the client's certificate: a credential only where a policy names them."""
    allowed_headers: tuple[str, ...] = ("x-auth-*", "authorization", "cookie")
    """Header names that policies may set or remove; a final ``*`` stands for any rest."""
    case_insensitive_paths: bool = False
    """Compare paths without regard to the case of ASCII letters, for upstreams that do so themselves."""

    @property
    def known_providers(self) -> frozenset[str]:
        """Every name that ``authentication.providers`` may use."""
        return self.providers | self.mesh_providers

    def allows_header(self, name: str) -> bool:
        """Whether ``headers.allowed`` covers a header name (lower-case)."""
        return any(
            name.startswith(allowed[:-1]) if allowed.endswith("*") else name == allowed
            for allowed in map(str.lower, self.allowed_headers)
        )
