"""One question to Vault, one answer: hvac over connections of our own making, and its faults in our words.

hvac is synchronous, so whoever is in an event loop asks from a thread (``extauthz.vault.calls``). Each thread has its own
connection. What hvac would pick up by itself is shut out: a token in the home folder, proxies and passwords of the
environment, redirects to anywhere. One redirect is followed, as Vault's own client does it (a standby names the active
node), never from https to http.
"""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import hvac
import requests
from hvac.adapters import JSONAdapter

from extauthz.errors import VaultError
from extauthz.vault.settings import VaultSettings

__all__ = ["UNWELL", "VaultClient"]

_T = TypeVar("_T")
_CONNECT = 1.0
"""Seconds for a connection, at most."""
_MAX_TOLD = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STATES = {
    429: "it is a standby, or has too many questions",
    472: "it is a standby for disaster recovery",
    473: "it is a standby for performance",
    501: "it is not initialised",
    502: "it can't reach what it needs",
    503: "it is sealed, or under maintenance",
    504: "it can't reach what it needs",
}
UNWELL = frozenset(_STATES)
"""The statuses that say something about the server, and nothing about the question."""


class VaultClient:
    """Asks one Vault. For any number of threads."""

    def __init__(self, settings: VaultSettings) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        self._own = threading.local()

    def ask(self, question: Callable[[hvac.Client], _T], token: str, *, timeout: float | None = None) -> _T:
        """The answer to a question that is asked with a token; empty: with none. Blocks.

        Raises:
            VaultError: There is none, or it is a refusal.
        """
        seconds = timeout or self._settings.timeout
        try:
            client = self._client()
            client.token = token
            self._own.adapter.wait = (min(seconds, _CONNECT), seconds)
            return question(client)
        except requests.exceptions.SSLError as error:
            raise VaultError(f"{self._settings.address}: TLS: {_reason(error)}") from None
        except requests.exceptions.Timeout:
            raise VaultError(f"{self._settings.address}: no answer within {seconds:g} s") from None
        except requests.exceptions.RequestException as error:
            raise VaultError(f"{self._settings.address}: can't be reached: {_reason(error)}") from None
        except OSError as error:
            raise VaultError(f"a file of the connection can't be read: {error.strerror}: {error.filename}") from None
        except (KeyError, TypeError, AttributeError, ValueError):
            raise VaultError(f"{self._settings.address}: its answer has not the form that is expected") from None

    def _client(self) -> hvac.Client:
        """The client of this thread; another one when a certificate file has changed."""
        stamp = _stamp(self._settings)
        if getattr(self._own, "stamp", None) != stamp:
            self._own.client = client = self._new()
            self._own.adapter = client.adapter
            self._own.stamp = stamp
            return client
        known: hvac.Client = self._own.client
        return known

    def _new(self) -> hvac.Client:
        settings = self._settings
        session = requests.Session()
        session.trust_env = False
        session.verify = settings.ca_file or ssl.get_default_verify_paths().cafile or True
        if settings.cert_file is not None and settings.key_file is not None:
            session.cert = (settings.cert_file, settings.key_file)
        return hvac.Client(
            url=settings.address,
            token="",
            verify=session.verify,
            cert=("", ""),  # else it looks into the environment; the session's counts
            session=session,
            namespace=settings.namespace,
            adapter=_Adapter,
            allow_redirects=False,
        )


class _Adapter(JSONAdapter):
    """hvac's way to Vault, with redirects that are looked at and refusals that keep their status."""

    wait = (_CONNECT, _CONNECT)
    """Seconds for a connection, and for each part of an answer."""

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        options["timeout"] = self.wait
        answer: Any = super().request(method, url, *arguments, **options)
        if not _redirected(answer):
            return answer
        here = self.base_uri
        self.base_uri = _target(here, answer.headers.get("location", ""))
        try:
            answer = super().request(method, url, *arguments, **options)
        finally:
            self.base_uri = here
        if _redirected(answer):
            raise VaultError(f"{here}: the server that it redirects to redirects again", answer.status_code)
        return answer

    def _raise_for_error(
        self,
        method: str,  # noqa: ARG002 - hvac's signature
        url: str,
        response: requests.Response,
    ) -> None:
        status = response.status_code
        try:
            told = [str(error) for error in response.json()["errors"]]
        except (ValueError, KeyError, TypeError):
            told = []
        said = _line(" ".join(told)) or response.reason or "no reason"
        why = f"{_STATES[status]}: {said}" if status in _STATES else said
        path = urlsplit(url).path.removeprefix("/v1/")
        raise VaultError(f"{path}: HTTP {status}: {why}", status)


def _redirected(answer: Any) -> bool:
    return isinstance(answer, requests.Response) and answer.status_code in _REDIRECTS


def _target(here: str, location: str) -> str:
    """Where a redirect leads. Raises VaultError if a token must not go there."""
    origin, target = urlsplit(here), urlsplit(location)
    if target.scheme not in ("http", "https") or not target.netloc:
        raise VaultError(f"{here}: it redirects to nowhere", 307)
    if origin.scheme == "https" and target.scheme != "https":
        raise VaultError(f"{here}: it redirects from https to http, which would show the token to anyone", 307)
    return f"{target.scheme}://{target.netloc}"


def _stamp(settings: VaultSettings) -> tuple[tuple[int, int, int], ...]:
    files = [file for file in (settings.ca_file, settings.cert_file, settings.key_file) if file is not None]
    marks = [Path(file).stat() for file in files]
    return tuple((mark.st_ino, mark.st_size, mark.st_mtime_ns) for mark in marks)


def _reason(error: Exception) -> str:
    """The innermost reason of a failed connection, in one line."""
    inner: Any = error
    seen = 0
    while seen < 10 and (deeper := _inner(inner)) is not None:  # noqa: PLR2004 - a chain of causes is short
        inner, seen = deeper, seen + 1
    text = getattr(inner, "verify_message", "") or getattr(inner, "strerror", "") or str(inner)
    return _line(str(text)) or type(inner).__name__


def _inner(error: Any) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *getattr(error, "args", ()), error.__cause__)
    return next((found for found in candidates if isinstance(found, BaseException) and found is not error), None)


def _line(text: str) -> str:
    """What somebody else said, as one short line without control characters."""
    plain = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return plain if len(plain) <= _MAX_TOLD else plain[:_MAX_TOLD] + "..."
