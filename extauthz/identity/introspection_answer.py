"""What an introspection endpoint answered: an identity, a refusal, or nothing that can be used.

``active`` says that the issuer knows the token and has not ended it. It does not say that the token is meant for us, that
any bearer may use it, or who may use it: all that is checked here as it is for a JSON Web Token (RFC 7662 sections 2.2 and
4), as far as the answer tells. What the answer leaves out is not made up; only ``sub`` has to be there.

Only ``"active": true`` is active; anything else, a missing member included, is not. ``username`` is for people and never
an identity. Signed answers (RFC 9701) are not asked for, and refused if they come.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from extauthz.errors import UpstreamError
from extauthz.identity.explanation import Step, role_steps
from extauthz.identity.introspection import IntrospectionProvider
from extauthz.identity.roles import RoleError, RoleReader, scopes_of
from extauthz.identity.strict_json import JsonError, has_unsafe_text, read_object
from extauthz.model import Deny, Identity, Reason, VerifiedClaims

__all__ = ["MAX_ANSWER_SIZE", "AnswerReader"]

MAX_ANSWER_SIZE = 65_536
"""Bytes; answers seen in the wild have 300 to 4000."""

_LATEST = 253_402_300_799
"""The last second of the year 9999, as for the claims of a JSON Web Token."""
_STRINGS = ("iss", "jti", "azp", "client_id", "username", "scope", "token_type")
_ID_TOKEN_MEMBERS = ("nonce", "at_hash", "c_hash")
_ACCESS = {
    "token_type": frozenset({"bearer", "access_token"}),
    "typ": frozenset({"bearer", "jwt", "at+jwt", "application/at+jwt"}),
    "token_use": frozenset({"access", "access_token"}),
}
"""Members by which servers tell access tokens from refresh tokens, ID tokens and tokens bound to a key (``DPoP``), and what
they say for a bearer's: RFC 7662 section 2.2 (some servers write ``access_token``), Keycloak, Ory Hydra and Cognito."""


class AnswerReader:
    """All rules of one provider. Immutable."""

    __slots__ = ("_audiences", "_identity_issuer", "_issuer", "_provider", "_roles", "_skew", "_subject_of_clients")

    def __init__(self, provider: IntrospectionProvider, included: Mapping[str, frozenset[str]]) -> None:
        """Compile the rules; ``included`` is the closure of the roles that roles contain."""
        self._provider = provider.name
        self._issuer = provider.issuer
        self._identity_issuer = provider.issuer or provider.endpoint
        self._audiences = provider.audiences
        self._skew = provider.clock_skew
        self._subject_of_clients = provider.subject_of_clients
        self._roles = RoleReader(provider.roles, included)

    def read(self, body: bytes, media_type: str, now: float) -> Identity | Deny:
        """Judge the body of an answer with status 200 at a time (seconds since the epoch).

        Raises:
            UpstreamError: It is no introspection answer. The text says why, and holds nothing of it.
        """
        if media_type != "application/json":
            signed = media_type == "application/token-introspection+jwt"
            raise UpstreamError(
                "the answer is signed (RFC 9701), which was not asked for" if signed else "the answer is not JSON"
            )
        if len(body) > MAX_ANSWER_SIZE:
            raise UpstreamError(f"the answer has more than {MAX_ANSWER_SIZE} bytes")
        try:
            answer = read_object(body)
        except JsonError as error:
            raise UpstreamError(f"the answer is {error}") from None
        if answer.get("active") is not True:
            plain = answer.get("active") is False
            return self._deny(Reason.TOKEN_INACTIVE, "" if plain else "active is neither true nor false in the answer")
        if has_unsafe_text(body, answer):
            return self._deny(Reason.CLAIM_INVALID, "a member of the answer holds U+0000 or half a surrogate pair")
        for check in (self._check_meant_for_us, self._check_times, self._check_kind):
            refusal = check(answer, now)
            if refusal is not None:
                return refusal
        return self._identity(answer)

    def role_steps(self, identity: Identity) -> Iterable[Step]:
        """From the answer that an identity was made of to its roles, for people."""
        return role_steps(self._roles, identity.claims)

    def _identity(self, answer: dict[str, Any]) -> Identity | Deny:
        subject = answer.get("sub")
        if subject is None and self._subject_of_clients and "sub" not in answer:
            subject = answer.get("client_id")
        if not isinstance(subject, str) or not subject:
            return self._deny(Reason.CLAIM_INVALID, "sub is missing or not a string with something in it")
        try:
            roles, scopes = self._roles.roles(answer), scopes_of(answer)
        except RoleError as error:
            return self._deny(Reason.CLAIM_INVALID, str(error))
        claims, expires = VerifiedClaims(MappingProxyType(answer)), answer.get("exp")
        return Identity(
            subject,
            self._identity_issuer,
            self._provider,
            roles,
            scopes,
            claims,
            None if expires is None else float(expires),
        )

    def _check_meant_for_us(self, answer: Mapping[str, Any], _now: float) -> Deny | None:
        """``iss``, ``aud``, and the types of members that name someone or something."""
        for name in _STRINGS:
            if name in answer and not isinstance(answer[name], str):
                return self._deny(Reason.CLAIM_INVALID, f"{name} is not a string")
        if self._issuer is not None and answer.get("iss", self._issuer) != self._issuer:
            return self._deny(Reason.CLAIM_INVALID, "iss is not the provider's issuer")
        if "aud" not in answer:
            return self._deny(Reason.CLAIM_INVALID, "aud is missing") if self._audiences else None
        audience = answer["aud"]
        names = [audience] if isinstance(audience, str) else audience
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return self._deny(Reason.CLAIM_INVALID, "aud is neither a string nor a list of strings")
        if self._audiences is None or not (names or self._audiences):
            return None
        if self._audiences.isdisjoint(names):
            told = "aud names none of the provider's audiences" + ("" if self._audiences else ": it has none")
            return self._deny(Reason.AUDIENCE_MISMATCH, told)
        return None

    def _check_times(self, answer: Mapping[str, Any], now: float) -> Deny | None:
        """``exp``, ``nbf`` and ``iat``, as far as they are there: a server that calls an expired token active is wrong."""
        for name in ("exp", "nbf", "iat"):
            if name in answer and not _is_date(answer[name]):
                return self._deny(Reason.CLAIM_INVALID, f"{name} is not a date in seconds")
        expires = answer.get("exp")
        begins = max(answer.get("nbf", 0), answer.get("iat", 0))
        if expires is not None and now >= expires + self._skew:
            return self._deny(Reason.TOKEN_EXPIRED, f"it expired {now - expires:.0f} s ago")
        if begins > now + self._skew:
            return self._deny(Reason.TOKEN_NOT_YET_VALID, "nbf or iat is in the future")
        if expires is not None and begins > expires:
            return self._deny(Reason.CLAIM_INVALID, "nbf or iat is later than exp")
        return None

    def _check_kind(self, answer: Mapping[str, Any], _now: float) -> Deny | None:
        """That it is an access token for any bearer."""
        for name in _ID_TOKEN_MEMBERS:
            if name in answer:
                return self._deny(Reason.CLAIM_INVALID, f"it has {name}: an ID token is not an access token")
        if "events" in answer:
            return self._deny(Reason.CLAIM_INVALID, "it has events: a security event is not an access token")
        for name, kinds in _ACCESS.items():
            if name in answer and str(answer[name]).lower() not in kinds:
                return self._deny(
                    Reason.CLAIM_INVALID, f"{name} marks another kind of token than a bearer's access token"
                )
        if "cnf" in answer:
            return self._deny(Reason.CLAIM_INVALID, "it has cnf: it is bound to its sender's key and no bearer token")
        return None

    def _deny(self, reason: Reason, detail: str) -> Deny:
        return Deny(reason, detail, provider=self._provider)


def _is_date(value: object) -> bool:
    """Whether a member is a number of seconds; a bool is an int in Python and no number in JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST
