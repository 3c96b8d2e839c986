"""How we prove who we are to an endpoint: by a secret in a header or a form, or by an assertion that we sign.

The secret or key is in a file and is looked at before each use, so that it can be replaced at any time. Nothing here puts a
secret, a key or an assertion into a text: errors name the file and the fault.
"""

import base64
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote_plus

from extauthz.errors import KeySetError
from extauthz.identity.client_settings import ClientKey, ClientSecret
from extauthz.identity.proof import Proof, WatchedFile

__all__ = ["ClientAuthentication", "Proof", "client_authentication"]

_MAX_SECRET_SIZE = 4_096


class ClientAuthentication(Protocol):
    """One way to prove who we are."""

    @property
    def error(self) -> str:
        """Why what the file holds now can't be used; empty if it can."""
        ...

    def prove(self, now: float) -> Proof:
        """The proof for one request; ``now`` is in seconds since the epoch. Reads a file: not for the event loop."""
        ...


def client_authentication(client: ClientSecret | ClientKey, new_id: Callable[[], str]) -> ClientAuthentication:
    """Read the file and make the proof ready; ``new_id`` gives each assertion an identifier that nobody can guess.

    Raises:
        KeySetError: The file can't be used. The text says which file, and nothing of its content.
    """
    if isinstance(client, ClientSecret):
        return _BySecret(client)
    from extauthz.identity.client_assertion import ByAssertion

    return ByAssertion(client, new_id)


class _BySecret:
    """The same proof for every request, made anew when the secret changes."""

    def __init__(self, client: ClientSecret) -> None:
        self._client = client
        self._file: WatchedFile[Proof] = WatchedFile(client.secret_file, self._proof)

    @property
    def error(self) -> str:
        """Why what the file holds now can't be used; empty if it can."""
        return self._file.error

    def prove(self, _now: float) -> Proof:
        return self._file.current()

    def _proof(self, content: bytes) -> Proof:
        secret = _secret(content)
        if self._client.method == "post":
            return Proof(form={"client_id": self._client.client_id, "client_secret": secret})
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(self._client.client_id)}:{quote_plus(secret)}"
        return Proof(headers={"authorization": "Basic " + base64.b64encode(pair.encode()).decode()})


def _secret(content: bytes) -> str:
    """The secret in a file, without the newline that editors and ``echo`` leave behind it."""
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise KeySetError("not UTF-8 text") from None
    if not secret or len(secret) > _MAX_SECRET_SIZE or not secret.isprintable():
        raise KeySetError(f"not one line of at most {_MAX_SECRET_SIZE} characters")
    return secret
