"""``vault``: where Vault or OpenBao is, and how this server proves to it who it is.

``VAULT_ADDR``, ``VAULT_NAMESPACE``, ``VAULT_TOKEN``, ``VAULT_CACERT``, ``VAULT_CLIENT_CERT``, ``VAULT_CLIENT_KEY`` and ``SECRETS_PATH``
keep their usual meaning; what is written beats them. A Vault that is named and that nothing needs is not asked.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

from extauthz.config.durations import Duration
from extauthz.config.environment import Override
from extauthz.config.faults import Fault
from extauthz.config.fields import EnvironmentText, FilePath, Section, Text
from extauthz.config.urls import url_fault
from extauthz.documents import Document, FieldError
from extauthz.errors import Position, Problem

if TYPE_CHECKING:
    from extauthz.config.configuration import Config

__all__ = ["AppRole", "JwtAuth", "KubernetesAuth", "Vault", "VaultAuth", "vault_faults", "vault_variables"]

_VARIABLES = {
    "VAULT_ADDR": "address",
    "VAULT_NAMESPACE": "namespace",
    "VAULT_CACERT": "caFile",
    "VAULT_CLIENT_CERT": "certFile",
    "VAULT_CLIENT_KEY": "keyFile",
    "SECRETS_PATH": "secretsPath",
}
_FALSE = ("", "0", "f", "false")
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def _address(url: str) -> str:
    fault = url_fault(url)
    if fault or urlsplit(url).path.strip("/") or urlsplit(url).query:
        raise FieldError(fault or "holds more than a host and a port", "write https://vault.example.com:8200")
    return url.rstrip("/")


def _vault_path(path: str) -> str:
    plain = path.strip("/")
    if not plain or any(step in ("", ".", "..") for step in plain.split("/")) or set(plain) & set("?#%\\ "):
        raise FieldError(f"{path!r} is no path in Vault", "such as secret/auth")
    return plain


VaultPath = Annotated[Text, AfterValidator(_vault_path)]
"""A path in Vault, without slashes around it."""


class AppRole(Section):
    """Login by a role id and a secret id (`auth/approle`)."""

    role_id: Text | None = None
    """The role id. Either this or `roleIdFile`."""
    role_id_file: FilePath | None = None
    """A file with the role id."""
    secret_id_file: FilePath | None = None
    """A file with the secret id, read for each login. Absent: the role asks for none."""
    wrapped: bool = False
    """true: the file holds a response-wrapping token, in which the secret id is. It is opened once, by one process; one that
    was opened before stops the start, since somebody else may have the secret id."""
    mount: VaultPath = "approle"
    """Where the method is mounted, below `auth/`."""


class KubernetesAuth(Section):
    """Login by the pod's service account (`auth/kubernetes`)."""

    role: Text
    """The role in Vault."""
    mount: VaultPath = "kubernetes"
    """Where the method is mounted, below `auth/`."""
    token_file: FilePath = _SERVICE_ACCOUNT
    """The token of the service account, read for each login; one that is projected for Vault's audience is better."""


class JwtAuth(Section):
    """Login by a JWT of any issuer that Vault trusts (`auth/jwt`)."""

    role: Text
    """The role in Vault."""
    token_file: FilePath
    """The JWT, read for each login."""
    mount: VaultPath = "jwt"
    """Where the method is mounted, below `auth/`."""


class VaultAuth(Section):
    """How this server proves to Vault who it is. One of the four; absent: by the token in VAULT_TOKEN."""

    token_file: FilePath | None = None
    """A file with a token, as a Vault agent writes it. Read again when the token ends."""
    app_role: AppRole | None = None
    """By a role id and a secret id."""
    kubernetes: KubernetesAuth | None = None
    """By the pod's service account."""
    jwt: JwtAuth | None = None
    """By a JWT of any issuer."""


class Vault(Section):
    """HashiCorp Vault or OpenBao. Nothing in this section can be a reference to Vault."""

    address: Annotated[Text, AfterValidator(_address)] | None = None
    """`https://vault.example.com:8200`. Absent: VAULT_ADDR, and without that there is no Vault."""
    plaintext: bool = False
    """true: `http://` to another machine. Whoever is on the way can read all secrets, and can be Vault."""
    namespace: Text | None = None
    """The namespace in which everything here is. Absent: VAULT_NAMESPACE."""
    ca_file: FilePath | None = None
    """Authorities to trust instead of the system's, PEM. Read again when it changes. Absent: VAULT_CACERT."""
    cert_file: FilePath | None = None
    """The certificate that is shown to Vault, PEM. Absent: VAULT_CLIENT_CERT."""
    key_file: FilePath | None = None
    """The key of that certificate. Absent: VAULT_CLIENT_KEY."""
    secrets_path: VaultPath | None = None
    """Where this service's own secrets are in a key-value engine: `secret/auth`, which is `secret/data/auth`. `vault:#field`
    means a field of it. Absent: SECRETS_PATH."""
    auth: VaultAuth = VaultAuth()
    """How this server proves to Vault who it is."""
    timeout: Annotated[float, Duration(0.05, 30)] = 2.0
    """The most time for one question. A Check never waits for Vault; a request for a token does."""
    refresh: Annotated[float, Duration(1, 86400)] = 30.0
    """How often secrets without a lease are looked at."""


def vault_variables(environ: Mapping[str, str], written: Any) -> tuple[list[Override], list[Problem]]:
    """What Vault's own variables say and ``written`` does not, and what is wrong with them."""
    section = written.get("vault") if isinstance(written, dict) else None
    said = section if isinstance(section, dict) else {}
    found = [
        Override(name, ("vault", key), Document(EnvironmentText(environ[name]), None, name))
        for name, key in _VARIABLES.items()
        if environ.get(name, "").strip() and key not in said
    ]
    problems = []
    if environ.get("VAULT_SKIP_VERIFY", "").strip().lower() not in _FALSE:
        message = "whoever is on the way could be Vault: certificates are always checked"
        problems.append(Problem(Position("VAULT_SKIP_VERIFY"), message, "unset it, and set VAULT_CACERT"))
    return found, problems


def vault_faults(config: "Config", *, workers: int) -> Iterator[Fault]:
    """What does not fit together about Vault."""
    vault = config.vault
    auth = vault.auth
    where = ("vault", "auth")
    ways = {"tokenFile": auth.token_file, "appRole": auth.app_role, "kubernetes": auth.kubernetes, "jwt": auth.jwt}
    given = [name for name, way in ways.items() if way is not None]
    if len(given) > 1:
        yield Fault(where, f"{' and '.join(given)} are ways to log in, and there is one", "keep one of them")
    role = auth.app_role
    if role is not None:
        if (role.role_id is None) == (role.role_id_file is None):
            yield Fault((*where, "appRole"), "the role id is in roleId or in roleIdFile", "give one of the two")
        if role.wrapped and role.secret_id_file is None:
            yield Fault((*where, "appRole", "wrapped"), "there is no secretIdFile whose content it could be", "set it")
        if role.wrapped and workers > 1:
            yield Fault(
                (*where, "appRole", "wrapped"),
                f"a wrapped secret id can be opened once, and there are {workers} workers",
                "log in by another method, or set workers: 1",
            )
    if (vault.cert_file is None) != (vault.key_file is None):
        missing = "keyFile" if vault.key_file is None else "certFile"
        yield Fault(
            ("vault", "certFile"), f"a certificate is shown with its key: {missing} is missing", "set both or none"
        )
    if vault.address is None:
        return
    tls = vault.address.startswith("https:")
    if not tls and not vault.plaintext and not _is_here(vault.address):
        yield Fault(
            ("vault", "address"),
            "over http:// anyone on the way can read the secrets, and can be Vault",
            "use https://, or accept it with vault.plaintext: true",
        )
    if tls and vault.plaintext:
        yield Fault(("vault", "plaintext"), "https:// is TLS from the first byte", "remove it")


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
