"""Proving to Vault who this server is, in each of the ways that an operator may choose, and the token that comes of it.

All of them block. What is in files is read for each login.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac

from extauthz.errors import VaultError
from extauthz.vault.client import VaultClient
from extauthz.vault.settings import AppRoleLogin, JwtLogin, Login, TokenLogin

__all__ = ["Doorman", "Token"]

_MAX_SECRET = 64 * 1024


@dataclass(frozen=True, slots=True)
class Token:
    """What Vault lets us do things with."""

    value: str = field(repr=False)
    lifetime: float
    """Seconds from now; infinite for a token that never ends."""
    renewable: bool
    ours: bool
    """It was made by our login and nobody else has it, so it is revoked when we go."""
    policies: tuple[str, ...] = ()


class Doorman:
    """Logs in."""

    def __init__(self, client: VaultClient, login: Login) -> None:
        """Nothing is read or asked yet."""
        self._client = client
        self._login = login
        self._opened: tuple[str, str] | None = None
        """The wrapping token that was opened, and the secret id that was in it: it can't be opened twice."""

    def token(self) -> Token:
        """A token, by a login. Raises VaultError if Vault says no or nothing, or a file can't be read."""
        login = self._login
        if isinstance(login, TokenLogin):
            return self._given(login)
        if isinstance(login, AppRoleLogin):
            return self._by_app_role(login)
        jwt = _read("tokenFile", login.token_file)
        return self._logged_in(lambda client: _login_with_jwt(client, login, jwt))

    def _given(self, login: TokenLogin) -> Token:
        value = login.token if login.file is None else _read("tokenFile", login.file)
        try:
            found = self._client.ask(lambda client: _data(client.auth.token.lookup_self()), value)
        except VaultError as error:
            if error.status != 403:  # noqa: PLR2004
                raise
            source = "VAULT_TOKEN" if login.file is None else f"tokenFile {login.file}"
            raise VaultError(f"the token of {source} is not valid any more, or never was: {error}", 403) from None
        return Token(
            value,
            float(found["ttl"]) or math.inf,
            renewable=bool(found.get("renewable")),
            ours=False,
            policies=tuple(found.get("policies") or ()),
        )

    def _by_app_role(self, login: AppRoleLogin) -> Token:
        role_id = login.role_id or _read("roleIdFile", login.role_id_file or "")
        secret_id = None if login.secret_id_file is None else self._secret_id(login, login.secret_id_file)

        def ask(client: hvac.Client) -> Any:
            return client.auth.approle.login(role_id, secret_id, use_token=False, mount_point=login.mount)

        return self._logged_in(ask)

    def _secret_id(self, login: AppRoleLogin, file: str) -> str:
        written = _read("secretIdFile", file)
        if not login.wrapped:
            return written
        if self._opened is not None and self._opened[0] == written:
            return self._opened[1]
        # Whoever swaps the file could offer a secret id of a role of theirs: Vault knows where the wrapped one is from.
        told = self._opening(file, lambda client: _data(_post(client, "sys/wrapping/lookup", token=written)), "")
        made_at = str(told.get("creation_path", ""))
        if not (made_at.startswith(f"auth/{login.mount}/role/") and made_at.endswith("/secret-id")):
            raise VaultError(f"secretIdFile {file}: what it wraps is no secret id of auth/{login.mount}: {made_at}")
        opened = self._opening(file, lambda client: _data(_post(client, "sys/wrapping/unwrap")), written)
        secret_id = str(opened["secret_id"])
        self._opened = (written, secret_id)
        return secret_id

    def _opening(self, file: str, question: Callable[[hvac.Client], Any], token: str) -> Any:
        try:
            return self._client.ask(question, token)
        except VaultError as error:
            if error.status not in (400, 403):
                raise
            raise VaultError(
                f"secretIdFile {file}: the wrapped secret id has expired or was opened by somebody else, who may have "
                "stolen it: destroy it, find out who opened it, and wrap another one",
                400,
            ) from None

    def _logged_in(self, question: Callable[[hvac.Client], Any]) -> Token:
        answer = self._client.ask(lambda client: question(client)["auth"], "")
        return told_token(answer, ours=True)


def told_token(auth: Mapping[str, Any], *, ours: bool) -> Token:
    """The ``auth`` of an answer."""
    return Token(
        str(auth["client_token"]),
        float(auth["lease_duration"]) or math.inf,
        renewable=bool(auth.get("renewable")),
        ours=ours,
        policies=tuple(auth.get("policies") or ()),
    )


def _login_with_jwt(client: hvac.Client, login: JwtLogin, jwt: str) -> Any:
    return _post(client, f"auth/{login.mount}/login", role=login.role, jwt=jwt)


def _post(client: hvac.Client, path: str, **parameters: str) -> Any:
    return client.adapter.post(f"/v1/{path}", json=parameters)


def _data(answer: Any) -> Any:
    return answer["data"]


def _read(setting: str, path: str) -> str:
    """One secret from a file, without blanks around it."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_SECRET + 1).decode().strip()
    except OSError as error:
        raise VaultError(f"{setting} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _MAX_SECRET or any(character.isspace() for character in text):
        raise VaultError(f"{setting} {path}: it does not hold one secret")
    return text
