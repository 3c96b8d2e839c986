"""Vault or OpenBao, out of the configuration: opened when something first needs it, and once for a process.

``Secrets`` is what a process has of it: the Vault, and the secrets that its configuration refers to. It is older than the
server, since the configuration is read before there is one, and outlives it when a changed secret makes it start anew. hvac
is imported only here and only then: its library belongs to an extra.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from extauthz import config as written
from extauthz.config import Config, SecretSource, load_config
from extauthz.errors import ConfigError, Position, Problem
from extauthz.serving import Readiness
from extauthz.tokens.ports import KeyBackend

if TYPE_CHECKING:
    from extauthz.vault import Login, References, Vault, VaultCounts

__all__ = ["Secrets", "key_backend", "vault"]

_LOOK_AT_VAULT = 0.5
"""Seconds between looks at Vault's state, for readiness."""
_DEFAULT_KEY = "extauthz"
_DEFAULT_SECRET = "signing-keys"  # noqa: S105 - a name


class Secrets:
    """The Vault of this process, and what its configuration refers to."""

    def __init__(self, environ: Mapping[str, str], *, passing: bool = False) -> None:
        """Nothing is opened yet. ``passing``: a command that ends soon, and must not use up what a server needs."""
        self._environ = environ
        self._passing = passing
        self._section: written.Vault | None = None
        self._vault: Vault | None = None
        self._references: References | None = None

    def load(self, file: str | None) -> Config:
        """The configuration, with what it refers to. Blocks. Raises ConfigError; then what was read before stays."""
        if self._references is not None:
            self._references.begin()
        config = load_config(file, self._environ, self.source)
        if self._references is not None:
            self._references.settle()
        return config

    def vault(self, section: written.Vault) -> "Vault":
        """The Vault of a configuration. Raises ConfigError if there is none, or it can't be used."""
        if self._vault is None:
            found = vault(_spared(section, self._environ) if self._passing else section, self._environ)
            if found is None:
                message = "something is in Vault, and where that is is not said"
                raise ConfigError([Problem(Position("vault.address"), message, "set it, or VAULT_ADDR")])
            self._vault, self._section = found, section
        elif section != self._section:
            message = "another Vault than before, or another way to it, needs a restart"
            raise ConfigError([Problem(Position("vault"), message)])
        return self._vault

    def source(self, section: written.Vault) -> SecretSource:
        """What reads references. Raises ConfigError."""
        opened = self.vault(section)
        if self._references is None:
            from extauthz.vault import References

            self._references = References(opened, clock=time.monotonic)
        return self._references

    def tasks(
        self, readiness: Readiness, changed: Callable[[Sequence[str]], None]
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What must run beside the server, by name; ``changed`` is told of values that are others now."""
        opened, references = self._vault, self._references
        if opened is None:
            return {}
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "vault": opened.run,
            "vault state": lambda: self._report(readiness),
        }
        if references is not None:
            tasks["vault secrets"] = lambda: references.follow(changed)
        return tasks

    def counts(self) -> "VaultCounts | None":
        """What was asked of Vault so far, for metrics; None if there is none."""
        return None if self._vault is None else self._vault.counts()

    @property
    def unrevoked(self) -> int:
        """Leases that nobody needs and Vault has not ended, for metrics."""
        return 0 if self._references is None else self._references.unrevoked

    async def follow(self, changed: Callable[[Sequence[str]], None]) -> None:
        """Stay logged in and follow the references, without a server, until cancelled."""
        if self._vault is None or self._references is None:
            await asyncio.Event().wait()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._vault.run())
            group.create_task(self._references.follow(changed))

    def __enter__(self) -> Self:
        """Leaving gives everything back."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Revoke what was lent and the token, and remove the files. Blocks, for some seconds at most."""
        if self._vault is not None:
            asyncio.run(self._close(self._vault))

    async def _close(self, opened: "Vault") -> None:
        if self._references is not None:
            await self._references.close()
        await opened.close()

    async def _report(self, readiness: Readiness) -> None:
        """Tell readiness how Vault is, as long as the server runs."""
        while True:
            if self._vault is not None:
                state = self._vault.state()
                readiness.part_told("vault", ok=state.ok, text=state.text)
            if self._references is not None:
                state = self._references.state()
                readiness.part_told("vault secrets", ok=state.ok, text=state.text)
            await asyncio.sleep(_LOOK_AT_VAULT)


def vault(section: written.Vault, environ: Mapping[str, str]) -> "Vault | None":
    """The Vault that a configuration names; None if it names none. Nothing is connected yet.

    Raises:
        ConfigError: The library is not installed, or there is no way to log in.
    """
    if section.address is None:
        return None
    try:
        from extauthz.vault import Vault, VaultSettings
    except ModuleNotFoundError as error:
        if error.name not in ("hvac", "requests"):
            raise
        message = "Vault needs a library that is not installed"
        raise ConfigError([Problem(Position("vault"), message, 'pip install "extauthz[vault]"')]) from None
    settings = VaultSettings(
        address=section.address,
        login=_login(section.auth, environ),
        namespace=section.namespace,
        ca_file=section.ca_file,
        cert_file=section.cert_file,
        key_file=section.key_file,
        secrets_path=section.secrets_path,
        timeout=section.timeout,
        refresh=section.refresh,
    )
    return Vault(settings, clock=time.monotonic, now=time.time)


def key_backend(
    opened: "Vault", kind: Literal["transit", "kv"], *, mount: str = "transit", key: str | None = None
) -> KeyBackend:
    """Signing keys in Vault. ``key`` is for Transit what the names of the keys begin with, for KV the path of the secret.

    Raises:
        ConfigError: It is not said where they are.
    """
    from extauthz.vault import KvKeys, TransitKeys

    if kind == "transit":
        return TransitKeys(opened, key or _DEFAULT_KEY, mount=mount)
    own = opened.settings.secrets_path
    path = key or (None if own is None else f"{own}/{_DEFAULT_SECRET}")
    if path is None:
        message = "keys in Vault's key-value engine are below it, and it is not set"
        raise ConfigError([Problem(Position("vault.secretsPath"), message, "set it, or SECRETS_PATH")])
    return KvKeys(opened, path)


def _spared(section: written.Vault, environ: Mapping[str, str]) -> written.Vault:
    """The same Vault, with another way to log in if this one can be used once. Raises ConfigError if there is none."""
    role = section.auth.app_role
    if role is None or not role.wrapped:
        return section
    if not environ.get("VAULT_TOKEN", "").strip():
        message = "a wrapped secret id can be opened once, and a server needs it"
        where = Position("vault.auth.appRole.wrapped")
        raise ConfigError([Problem(where, message, "set VAULT_TOKEN for this command")])
    return section.model_copy(update={"auth": written.VaultAuth()})


def _login(auth: written.VaultAuth, environ: Mapping[str, str]) -> "Login":
    """How to log in. Raises ConfigError if nothing says so."""
    from extauthz.vault import AppRoleLogin, JwtLogin, TokenLogin

    if auth.app_role is not None:
        role = auth.app_role
        return AppRoleLogin(role.role_id, role.role_id_file, role.secret_id_file, role.wrapped, role.mount)
    jwt = auth.kubernetes or auth.jwt
    if jwt is not None:
        return JwtLogin(jwt.role, jwt.token_file, jwt.mount)
    if auth.token_file is not None:
        return TokenLogin(auth.token_file)
    token = environ.get("VAULT_TOKEN", "").strip()
    if not token:
        message = "it is not said how to log in to Vault"
        raise ConfigError([Problem(Position("vault.auth"), message, "set one of its keys, or VAULT_TOKEN")])
    return TokenLogin(token=token)
