"""What an agent is told: which service, which grant, for which purpose."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["ACCESS_TOKEN_TYPE", "JWT_TYPE", "Grant", "Purpose"]

Grant = Literal["client-credentials", "token-exchange", "refresh-token", "renew"]
"""How tokens are got: as the client itself, for the token of somebody else that is in a file (a Kubernetes service
account's), with a refresh token, or with the token before (``POST /refresh``)."""

JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of RFC 8693


@dataclass(frozen=True, slots=True)
class Purpose:
    """What the token is to be for; what is empty is for the service to choose."""

    resource: str = ""
    """The audience (RFC 8707)."""
    scope: str = ""
    """Names with spaces between them."""

    def form(self) -> dict[str, str]:
        """The parameters that say it."""
        said = {"resource": self.resource, "scope": self.scope}
        return {name: value for name, value in said.items() if value}
