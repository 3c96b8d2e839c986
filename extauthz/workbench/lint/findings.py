"""What a finding is, and the table of all kinds."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from extauthz.errors import Position

__all__ = ["CODES", "Finding"]

CODES: Mapping[str, str] = MappingProxyType(
    {
        "never-matches": "no request can match the rule",
        "shadowed-by-deny": "every request that the rule allows is denied before",
        "duplicate-rule": "another rule of the policy says the same",
        "unknown-role": "no provider, map or include can give the role",
        "unused-provider": "no policy takes callers of the provider",
        "own-tokens-refused": "no provider has the issuer of the token service",
        "secret-readable": "others may read a file that holds a secret",
        "deny-leaves-twin": "a path is denied with a final slash, and allowed without",
        "deny-leaves-children": "a path is denied, and what is below it is allowed",
        "path-equality": "a condition compares the path with its query",
        "path-spelling": "a condition compares with a path that no request can have",
        "header-spelling": "a condition asks for a header in upper case",
        "host-spelling": "a condition compares with a host that no request can have",
        "method-spelling": "a condition compares with a method that no request can have",
        "constant-condition": "a condition has the same value for every request",
        "unguarded-claim": "a deny asks for a claim that may be missing, and then denies",
        "allows-nothing": "the policy has no rule that allows anything",
    }
)
"""Every code, with what it means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is legal and looks wrong."""

    code: str
    where: Position
    message: str
    """What: lower case, no final period."""
    mend: str
    """What to write instead."""
