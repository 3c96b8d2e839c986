"""The verifier: from a well-formed token to claims that may be believed, or one reason why not.

One immutable object per provider holds every rule, compiled when the configuration is read. The order is fixed: the
header against the provider's lists, then the signature, and only then the claims, so that nothing an attacker writes
into a token influences an answer or a log before somebody has signed it (RFC 8725 section 3). The token's ``alg`` picks
nothing: it must be in the provider's list and fit the key.

Claims have exact types, and a wrong type is a refusal, never a conversion. What is taken is an access token meant for
us: an ID token, a logout token or another security event, and a token bound to its sender's key (RFC 9449, RFC 8705) are
refused, because each of them means something else than "the bearer may call this API".

Reasons, where the RFCs leave room: a claim that is missing or of a wrong type is ``claim-invalid`` (a missing ``aud``
too); ``iat`` in the future is ``token-not-yet-valid``; an unacceptable ``typ`` is ``claim-invalid``; a key that is there
but not for the token's algorithm is ``algorithm-not-allowed``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from extauthz.identity.key_sets import KeySet
from extauthz.identity.keys import Key
from extauthz.identity.providers import JwtProvider
from extauthz.identity.strict_json import has_unsafe_text
from extauthz.identity.token_form import CompactToken
from extauthz.model import Deny, Reason, VerifiedClaims

__all__ = ["JwtVerifier", "UnknownKey"]

_LATEST = 253_402_300_799
"""The last second of the year 9999: a NumericDate (RFC 7519 section 2) beyond it is a mistake or an attack."""

_OPTIONAL_STRINGS = ("jti", "azp", "client_id", "scope")
_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash")
"""OpenID Connect Core 1.0 sections 2 and 3.3.2.11: only ID tokens have them."""
_FOREIGN_KINDS = {
    "typ": frozenset({"ID", "Refresh", "Offline", "Logout"}),
    "token_use": frozenset({"id"}),
}
"""How Keycloak (``typ``) and Amazon Cognito (``token_use``) mark tokens of other kinds inside the claims."""


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """No key of the set fits the token; one of a newer set may."""

    denial: Deny
    """What to answer if there is no newer set."""


class JwtVerifier:
    """All rules of one provider. Immutable."""

    __slots__ = (
        "_algorithms",
        "_audience_claim",
        "_audiences",
        "_issuer",
        "_max_lifetime",
        "_provider",
        "_required",
        "_skew",
        "_types",
        "_untyped",
    )

    def __init__(self, provider: JwtProvider) -> None:
        """Compile the rules."""
        self._provider = provider.name
        self._issuer = provider.issuer
        self._audiences = provider.audiences
        self._algorithms = provider.algorithms
        # A token that spells its type "absent" has one.
        self._types = provider.token_types - {"absent"}
        self._untyped = "absent" in provider.token_types
        self._skew = provider.clock_skew
        self._max_lifetime = provider.max_lifetime
        self._required = sorted(provider.required_claims)
        self._audience_claim = provider.audience_claim

    def verify(self, token: CompactToken, keys: KeySet, now: float) -> VerifiedClaims | UnknownKey | Deny:
        """Judge a token by a set of keys at a time (seconds since the epoch)."""
        for _, refusal in self.judge(token, keys, now):
            if refusal is not None:
                return refusal
        return VerifiedClaims(MappingProxyType(token.unverified_claims))

    def judge(self, token: CompactToken, keys: KeySet, now: float) -> Iterator[tuple[str, UnknownKey | Deny | None]]:
        """Each check in order, by a name that ``asked`` knows, with None if the token passes it; the first refusal is the
        verdict, and the last that is given.
        """
        algorithm = token.algorithm
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            refusal = self._deny(Reason.ALGORITHM_NOT_ALLOWED, "the token's alg is not among the provider's algorithms")
            yield "algorithm", refusal
            return
        yield "algorithm", None
        if not (self._untyped if token.type is None else token.type in self._types):
            yield "type", self._deny(Reason.CLAIM_INVALID, "the token's typ is not among the provider's tokenTypes")
            return
        yield "type", None
        named = keys.fitting(algorithm) if token.key_id is None or keys.nameless else keys.named(token.key_id)
        if not named:
            denial = self._deny(Reason.KEY_UNKNOWN, "the provider's key set has no key for the token")
            yield "key", UnknownKey(denial)
            return
        candidates = tuple(key for key in named if algorithm in key.algorithms)
        if not candidates:
            yield "key", self._deny(Reason.ALGORITHM_NOT_ALLOWED, "the key that the token names is not for its alg")
            return
        yield "key", None
        if not _signed_by_any(candidates, algorithm, token):
            tried = "the key" if len(candidates) == 1 else f"any of the {len(candidates)} keys that were tried"
            denial = self._deny(Reason.SIGNATURE_INVALID, f"the signature is not by {tried}")
            # A token that names no key can only show in this way that its key is new.
            yield "signature", UnknownKey(denial) if token.key_id is None else denial
            return
        yield "signature", None
        claims = token.unverified_claims
        if has_unsafe_text(token.payload, claims):
            yield "text", self._deny(Reason.CLAIM_INVALID, "a claim holds U+0000 or half a surrogate pair")
            return
        yield "text", None
        for name, check in (
            ("audience", self._check_meant_for_us),
            ("times", self._check_times),
            ("claims", self._check_types),
            ("kind", self._check_kind),
        ):
            refused = check(claims, now)
            yield name, refused
            if refused is not None:
                return

    @property
    def asked(self) -> Mapping[str, str]:
        """What each check of ``judge`` asks of a token, for people."""
        types = sorted(self._types) + ["absent"] * self._untyped
        meant = "is any" if self._audiences is None else f"names one of {', '.join(sorted(self._audiences))}"
        longest = "" if self._max_lifetime is None else f" and at most {self._max_lifetime:g} s of life"
        required = f", and {', '.join(self._required)} are there" if self._required else ""
        return {
            "algorithm": f"alg is one of {', '.join(sorted(self._algorithms))}",
            "type": f"typ is one of {', '.join(types)}",
            "key": "the provider has a key for it",
            "signature": "the signature is by that key",
            "text": "no claim holds text that two readers take for different things",
            "audience": f"iss is {self._issuer}, and {self._audience_claim} {meant}",
            "times": f"exp, nbf and iat fit the clock, with {self._skew:g} s of skew{longest}",
            "claims": f"sub and the others have the types that they must have{required}",
            "kind": "it is an access token, for any bearer",
        }

    def _check_meant_for_us(self, claims: Mapping[str, Any], _now: float) -> Deny | None:
        """``iss`` and ``aud`` (RFC 7519 sections 4.1.1 and 4.1.3).

        An ``aud`` that is there must name us also where another claim does so: the RFC leaves no choice.
        """
        if claims.get("iss") != self._issuer:
            return self._deny(Reason.CLAIM_INVALID, "iss is not the provider's issuer")
        if self._audiences is not None and self._audience_claim not in claims:
            return self._deny(Reason.CLAIM_INVALID, f"{self._audience_claim} is missing")
        if self._audience_claim != "aud" and self._audiences is not None:
            meant_for = claims[self._audience_claim]
            if not isinstance(meant_for, str) or meant_for not in self._audiences:
                detail = f"{self._audience_claim} is none of the provider's audiences"
                return self._deny(Reason.AUDIENCE_MISMATCH, detail)
        if "aud" not in claims:
            return None
        audience = claims["aud"]
        names = [audience] if isinstance(audience, str) else audience
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return self._deny(Reason.CLAIM_INVALID, "aud is neither a string nor a list of strings")
        if self._audiences is not None and self._audiences.isdisjoint(names):
            return self._deny(Reason.AUDIENCE_MISMATCH, "aud names none of the provider's audiences")
        return None

    def _check_times(self, claims: Mapping[str, Any], now: float) -> Deny | None:
        """``exp`` (required), ``nbf`` and ``iat`` (RFC 7519 sections 4.1.4 to 4.1.6)."""
        for name in ("exp", "nbf", "iat"):
            if name in claims and not _is_date(claims[name]):
                return self._deny(Reason.CLAIM_INVALID, f"{name} is not a date in seconds")
        expires = claims.get("exp")
        if expires is None:
            return self._deny(Reason.CLAIM_INVALID, "exp is missing")
        if now >= expires + self._skew:
            return self._deny(Reason.TOKEN_EXPIRED, f"it expired {now - expires:.0f} s ago")
        begins, issued = claims.get("nbf", 0), claims.get("iat", 0)
        if max(begins, issued) > now + self._skew:
            return self._deny(Reason.TOKEN_NOT_YET_VALID, "nbf or iat is in the future")
        if max(begins, issued) > expires:
            return self._deny(Reason.CLAIM_INVALID, "nbf or iat is later than exp")
        longest = self._max_lifetime
        if longest is not None and (
            expires - now > longest + self._skew or expires - claims.get("iat", expires) > longest
        ):
            return self._deny(Reason.CLAIM_INVALID, "it lives longer than the provider's maxLifetime")
        return None

    def _check_types(self, claims: Mapping[str, Any], _now: float) -> Deny | None:
        """The types of the claims that name someone or something."""
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            return self._deny(Reason.CLAIM_INVALID, "sub is missing or not a string with something in it")
        for name in _OPTIONAL_STRINGS:
            if name in claims and not isinstance(claims[name], str):
                return self._deny(Reason.CLAIM_INVALID, f"{name} is not a string")
        for name in self._required:
            if claims.get(name) in (None, ""):
                return self._deny(Reason.CLAIM_INVALID, f"{name} is missing")
        return None

    def _check_kind(self, claims: Mapping[str, Any], _now: float) -> Deny | None:
        """That it is an access token for any bearer (RFC 8725 section 3.12)."""
        for name in _ID_TOKEN_CLAIMS:
            if name in claims:
                return self._deny(Reason.CLAIM_INVALID, f"it has {name}: an ID token is not an access token")
        if "events" in claims:
            return self._deny(Reason.CLAIM_INVALID, "it has events: a security event is not an access token")
        for name, foreign in _FOREIGN_KINDS.items():
            value = claims.get(name)
            if isinstance(value, str) and value in foreign:
                return self._deny(Reason.CLAIM_INVALID, f"{name} marks another kind of token than an access token")
        if "cnf" in claims:
            return self._deny(Reason.CLAIM_INVALID, "it has cnf: it is bound to its sender's key and no bearer token")
        return None

    def _deny(self, reason: Reason, detail: str) -> Deny:
        return Deny(reason, detail, provider=self._provider)


def _signed_by_any(keys: tuple[Key, ...], algorithm: str, token: CompactToken) -> bool:
    return any(key.verifies(algorithm, token.signing_input, token.signature) for key in keys)


def _is_date(value: object) -> bool:
    """Whether a claim is a NumericDate; a bool is an int in Python and no number in JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST
