"""The token service: from one HTTP request to one answer.

It knows the paths, and what is the same for all of them: wrong methods, faults of what it leans on (503, and nothing was
handed out), faults of its own (500). What happens at a path is told by the module of that name.
"""

import importlib.resources
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from extauthz.errors import AuditError, SigningError, StoreError
from extauthz.tokens.errors import OAuthError, error_answer, json_answer, unavailable
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.introspection import IntrospectionEndpoint
from extauthz.tokens.journal import Journal
from extauthz.tokens.metadata import (
    INTROSPECT,
    KEYS,
    OAUTH,
    OPENAPI,
    OPENID,
    REFRESH,
    REVOKE,
    TOKEN,
    base_path,
    metadata,
)
from extauthz.tokens.ports import AuditEvent, Signer
from extauthz.tokens.renewal import Renewal
from extauthz.tokens.revocation import RevocationEndpoint
from extauthz.tokens.token_endpoint import TokenEndpoint

__all__ = ["TokenService"]

_log = structlog.get_logger(__name__)

_METADATA_AGE: Final = 300
"""Seconds that others may keep the metadata."""
_ACTIONS: Final = {TOKEN: "issue", REVOKE: "revoke", INTROSPECT: "introspect", REFRESH: "renew"}
_NOT_FOUND: Final = HttpAnswer(404, (("content-type", "text/plain; charset=utf-8"),), b"there is nothing here\n")

_Post = Callable[[HttpQuestion], Awaitable[HttpAnswer]]
_Get = Callable[[HttpQuestion], HttpAnswer]


class TokenService:
    """Answers what is asked of the http listener."""

    def __init__(
        self,
        issuer: str,
        signer: Signer,
        journal: Journal,
        *,
        tokens: TokenEndpoint,
        revocation: RevocationEndpoint,
        introspection: IntrospectionEndpoint,
        renewal: Renewal,
        client_certificates: bool,
    ) -> None:
        """``client_certificates``: the listener asks clients for theirs."""
        self._issuer = issuer
        self._base = base_path(issuer)
        self._signer = signer
        self._journal = journal
        self._client_certificates = client_certificates
        self._openapi = importlib.resources.files(__package__).joinpath("openapi.json").read_bytes()
        self._posts: Mapping[str, _Post] = {
            TOKEN: tokens.answer,
            REVOKE: revocation.answer,
            INTROSPECT: introspection.answer,
            REFRESH: renewal.answer,
        }
        self._gets: Mapping[str, _Get] = {
            OPENID: self._metadata,
            OAUTH: self._metadata,
            # RFC 8414 section 3.1: the issuer's path goes behind the well-known one.
            OAUTH + self._base: self._metadata,
            KEYS: self._keys,
            OPENAPI: lambda _: HttpAnswer(200, (("content-type", "application/json"),), self._openapi),
        }

    async def answer(self, question: HttpQuestion) -> HttpAnswer:
        """One request, whatever it is."""
        path = question.path
        if self._base and path.startswith(self._base + "/"):
            path = path.removeprefix(self._base)
        post, get = self._posts.get(path), self._gets.get(path)
        if post is not None:
            if question.method != "POST":
                return _wrong_method("POST")
            return await self._posted(post, path, question)
        if get is None:
            return _NOT_FOUND
        # HEAD comes as GET: whoever writes answers down leaves the body out.
        return get(question) if question.method == "GET" else _wrong_method("GET, HEAD")

    async def _posted(self, post: _Post, path: str, question: HttpQuestion) -> HttpAnswer:
        action = _ACTIONS[path]
        try:
            return await post(question)
        except (StoreError, SigningError, AuditError) as error:
            _log.warning("the token service could not answer", action=action, error=str(error))
            fault = unavailable(str(error))
        except Exception:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            _log.exception("the token service has a fault", action=action)
            fault = OAuthError("server_error", "the service has a fault", status=500)
        event = AuditEvent(action, "refused", address=question.address)
        if path in {TOKEN, REFRESH}:
            return self._journal.no_token(action, event, fault)
        return self._journal.refused(event, fault)

    def _metadata(self, _question: HttpQuestion) -> HttpAnswer:
        told = metadata(self._issuer, self._signer, client_certificates=self._client_certificates)
        if not self._signer.algorithms():
            # No key was read yet, and nobody is to keep that.
            return json_answer(told)
        return json_answer(told, headers=(("cache-control", f"public, max-age={_METADATA_AGE}"),))

    def _keys(self, question: HttpQuestion) -> HttpAnswer:
        """The public keys; 304 to who has them already (RFC 9110 section 13.1.2), 503 while there is none to tell of."""
        try:
            keys, etag = self._signer.jwks(), self._signer.etag
        except SigningError as error:
            return error_answer(unavailable(str(error)))
        headers = (("cache-control", f"public, max-age={int(self._signer.max_age)}"), ("etag", etag))
        known = [
            tag.strip().removeprefix("W/")
            for line in question.headers.get("if-none-match", ())
            for tag in line.split(",")
        ]
        if etag in known or "*" in known:
            return HttpAnswer(304, headers)
        return HttpAnswer(200, (("content-type", "application/jwk-set+json"), *headers), keys)


def _wrong_method(allowed: str) -> HttpAnswer:
    answer = error_answer(OAuthError("invalid_request", f"only {allowed} is answered here", status=405))
    return HttpAnswer(answer.status, (*answer.headers, ("allow", allowed)), answer.body)
