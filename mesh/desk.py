"""The clients of the token service: what a shop, a back office and a gateway do with curl, as calls.

Model: a `TokenDesk` knows where extauthz' http listener is and has the clients' secrets, which are made at start, one file
each. Each call is one form over HTTP. What is refused is a `Refused`, with the error of RFC 6749 as its text.

Trade-off: the standard library's client is enough, and shows what goes over the wire.
"""

from __future__ import annotations

import base64
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any as Json
from typing import Self
from urllib.parse import urlencode

CLIENTS = ("shop", "backoffice", "gateway")
"""The clients in mesh/templates/extauthz.yaml."""
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
WAIT = 5.0


class Refused(RuntimeError):  # noqa: N818 - an answer, as a refusal is
    """The token service said no."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What was given out."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """The token service as its clients see it."""

    url: str
    folder: Path
    """Where the clients' secrets are."""

    @classmethod
    def open(cls, url: str, folder: Path) -> Self:
        """Makes the clients' secrets, which the server reads when it starts."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        desk = cls(url, folder)
        for client in CLIENTS:
            file = desk.secret_file(client)
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(32) + "\n")
        return desk

    def secret_file(self, client: str) -> Path:
        return self.folder / f"{client}.secret"

    def own(self, client: str) -> Issued:
        """A token of the client itself."""
        return self._token(client, grant_type="client_credentials")

    def exchange(self, client: str, subject_token: str) -> Issued:
        """A token of this mesh for one of another issuer."""
        kind = {"subject_token": subject_token, "subject_token_type": ACCESS_TOKEN}
        return self._token(client, grant_type=EXCHANGE, **kind)

    def refresh(self, client: str, refresh_token: str) -> Issued:
        """The tokens that follow."""
        return self._token(client, grant_type="refresh_token", refresh_token=refresh_token)

    def renew(self, token: str) -> str:
        """What `POST /refresh` gives for a token."""
        return str(self._post("/refresh", json.dumps({"token": token}).encode())["token"])

    def revoke(self, client: str, token: str) -> None:
        """Ends a token."""
        self._form("/oauth2/revoke", client, token=token)

    def _token(self, client: str, **form: str) -> Issued:
        told = self._form("/oauth2/token", client, **form)
        return Issued(told["access_token"], told.get("refresh_token", ""))

    def _form(self, path: str, client: str, **form: str) -> dict[str, Json]:
        secret = self.secret_file(client).read_text().strip()
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        return self._post(path, urlencode(form).encode(), {"authorization": f"Basic {basic}"})

    def _post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Json]:
        request = urllib.request.Request(self.url + path, body, dict(headers or {}))  # noqa: S310 - loopback, our own
        try:
            with urllib.request.urlopen(request, timeout=WAIT) as answer:  # noqa: S310 - likewise
                told: dict[str, Json] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(json.loads(error.read()).get("error", str(error.code))) from None
        return told
