"""What the operator says about Vault, as values: where it is, how this server proves who it is, how long it waits.

Secrets are not here: they are in files, which are read for each login, so that who renews them needs no restart of ours.
The one exception is ``VAULT_TOKEN``, which is in the environment and nowhere else.
"""

from dataclasses import dataclass, field

__all__ = ["AppRoleLogin", "JwtLogin", "Login", "TokenLogin", "VaultSettings"]


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token that somebody else keeps fresh, or that lives for good."""

    file: str | None = None
    """Read again when the token ends, as a Vault agent beside this server writes it."""
    token: str = field(default="", repr=False)
    """The value of ``VAULT_TOKEN``; used if there is no file."""


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """A role id and a secret id (``auth/approle``)."""

    role_id: str | None
    role_id_file: str | None
    secret_id_file: str | None
    """None: the role asks for none."""
    wrapped: bool = False
    """The file holds a response-wrapping token, in which the secret id is. It can be opened once."""
    mount: str = "approle"


@dataclass(frozen=True, slots=True)
class JwtLogin:
    """A JWT that proves the workload: of a Kubernetes service account (``auth/kubernetes``), or of any issuer (``auth/jwt``)."""

    role: str
    token_file: str
    """Read for each login: the kubelet renews it."""
    mount: str


Login = TokenLogin | AppRoleLogin | JwtLogin
"""How this server proves who it is."""


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """One Vault or OpenBao."""

    address: str
    """``https://host:8200``; ``http://`` if the operator says so."""
    login: Login
    namespace: str | None = None
    ca_file: str | None = None
    """PEM certificates to trust; None: the system's."""
    cert_file: str | None = None
    """The certificate that is shown to Vault, PEM."""
    key_file: str | None = None
    """The key of that certificate, PEM."""
    secrets_path: str | None = None
    """The KV path of this service's own secrets."""
    timeout: float = 2.0
    """Seconds until an answer counts as missing."""
    refresh: float = 30.0
    """Seconds between looks at secrets that have no lease."""
