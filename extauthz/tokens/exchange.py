"""Token exchange (RFC 8693): a token of a configured provider, such as a Kubernetes service account's, for one of ours.

The subject of the new token is the provider's name, a colon and the subject there: two issuers may know different people by
one name, and whoever decides by ``sub`` alone must not take one for the other. No client's id has a colon, so none is called
like them. A token that this service has issued keeps its subject.

The new token never has a scope that the subject token has not, never lives longer, and has no role that the client may not
bring (O39). Who has exchanged it stands in ``act``, before whoever acted already; that also tells an exchanged token from
one that can be renewed.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from extauthz.model import Deny, Identity
from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.clients import Client
from extauthz.tokens.errors import OAuthError, is_outage, unavailable
from extauthz.tokens.form import Form
from extauthz.tokens.ports import SubjectVerifier

__all__ = ["TokenExchange"]

_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_KINDS: Final = frozenset({_ACCESS_TOKEN, _JWT})
_MAX_ACTORS: Final = 2048
"""Characters of ``act`` that a subject token may bring."""


class TokenExchange:
    """The grant."""

    name = "urn:ietf:params:oauth:grant-type:token-exchange"
    action = "exchange"
    targets: tuple[str, ...] = ("resource", "audience")
    answered: Mapping[str, Any] = MappingProxyType({"issued_token_type": _ACCESS_TOKEN})

    def __init__(self, verifier: SubjectVerifier, issuer: str) -> None:
        """Ask ``verifier`` about subject tokens; ``issuer`` is this service."""
        self._verifier = verifier
        self._issuer = issuer

    async def authorize(self, client: Client, form: Form) -> Authorization | OAuthError:
        """Whom the subject token proves, and what of it the client may bring over."""
        rules = client.exchange
        if rules is None:
            return OAuthError("unauthorized_client", "the client may not exchange tokens")
        if fault := _fault(form):
            return OAuthError("invalid_request", fault)
        verdict = await self._verifier.verify(form.one("subject_token"), rules.providers)
        if isinstance(verdict, Deny):
            if is_outage(verdict):
                return unavailable(f"the subject token can't be verified now: {verdict.detail}")
            return _invalid(f"{verdict.reason.word}: {verdict.detail}")
        identity, ends = verdict
        if identity.provider not in rules.providers:
            return _invalid(f"the client may not exchange tokens of provider {identity.provider}")
        if "cnf" in identity.claims:
            return _invalid("the subject token is bound to its sender's key")
        if not self._may_act(client, identity.claims.get("may_act")):
            return _invalid("may_act of the subject token names somebody else")
        actors = self._actors(client, identity)
        if actors is None:
            return _invalid("act of the subject token is not an object, or too long")
        roles = identity.roles if rules.may_grant is None else identity.roles & rules.may_grant
        auth_time = identity.claims.get("auth_time")
        return Authorization(
            client=client,
            subject=identity.subject if identity.issuer == self._issuer else f"{identity.provider}:{identity.subject}",
            scopes=tuple(scope for scope in client.scopes if scope in identity.scopes),
            audiences=client.audiences,
            audience=client.audiences[:1],
            roles=tuple(sorted(roles)),
            auth_time=auth_time if isinstance(auth_time, int | float) and not isinstance(auth_time, bool) else None,
            ends=ends,
            session=self._session(identity),
            further={"act": actors, **self._origin(identity)},
        )

    async def settle(self, _authorization: Authorization, _terms: Terms) -> str | OAuthError:
        """Nothing: what was exchanged is exchanged again, not refreshed."""
        return ""

    def _may_act(self, client: Client, named: object) -> bool:
        """Whether a subject token lets the client act (RFC 8693 section 4.4). One that says nothing leaves it to policy."""
        if named is None:
            return True
        if not isinstance(named, Mapping) or named.get("iss", self._issuer) != self._issuer:
            return False
        names = [named[claim] for claim in ("sub", "client_id") if claim in named]
        return bool(names) and all(name == client.id for name in names)

    def _actors(self, client: Client, identity: Identity) -> Mapping[str, Any] | None:
        """The client, and after it who acted before (RFC 8693 section 4.1)."""
        now = {"iss": self._issuer, "sub": client.id}
        before = identity.claims.get("act")
        if before is None:
            return now
        if not isinstance(before, Mapping) or len(json.dumps(before)) > _MAX_ACTORS:
            return None
        return {**now, "act": {"iss": identity.issuer, **before}}

    def _session(self, identity: Identity) -> str:
        """The session of a token of our own: what was exchanged for it ends with that, and is renewed no more than before."""
        session = identity.claims.get("sid") if identity.issuer == self._issuer else None
        return session if isinstance(session, str) else ""

    def _origin(self, identity: Identity) -> Mapping[str, Any]:
        """Who the subject is where it comes from."""
        if identity.issuer != self._issuer:
            return {"src_iss": identity.issuer, "src_sub": identity.subject}
        return {name: identity.claims[name] for name in ("src_iss", "src_sub") if name in identity.claims}


def _fault(form: Form) -> str:
    """What is wrong with the request (RFC 8693 section 2.1); empty if nothing is."""
    if "actor_token" in form or "actor_token_type" in form:
        return "actor tokens are not supported: the client itself is the actor"
    for name in ("subject_token", "subject_token_type"):
        if name not in form:
            return f"{name} is missing"
    if form.one("subject_token_type") not in _KINDS:
        return f"subject_token_type must be {_ACCESS_TOKEN} or {_JWT}"
    if form.one("requested_token_type") not in {"", _ACCESS_TOKEN}:
        return f"requested_token_type can only be {_ACCESS_TOKEN}"
    return ""


def _invalid(detail: str) -> OAuthError:
    return OAuthError(
        "invalid_request", "the subject token is not valid, or not one that this client may exchange", detail
    )
