"""Whom claims prove, once they are verified: the last step of every token, whoever verified it."""

from collections.abc import Mapping, Sequence

from extauthz.identity.roles import RoleError, RoleReader, RoleRules, included_roles, scopes_of
from extauthz.model import Deny, Identity, Reason, VerifiedClaims

__all__ = ["identity_of", "told_identity"]


def identity_of(provider: str, issuer: str, roles: RoleReader, claims: VerifiedClaims) -> Identity | Deny:
    """The identity of verified claims, with the roles and scopes that the provider's rules find in them."""
    try:
        found, scopes = roles.roles(claims), scopes_of(claims)
    except RoleError as error:
        return Deny(Reason.CLAIM_INVALID, str(error), provider=provider)
    expires = claims.get("exp")
    end = float(expires) if isinstance(expires, int | float) else None
    return Identity(claims["sub"], issuer, provider, found, scopes, claims, end)


def told_identity(
    provider: str, issuer: str, rules: RoleRules, includes: Mapping[str, Sequence[str]], claims: Mapping[str, object]
) -> Identity | Deny:
    """Whom claims would prove if they were verified: for tests of policies, which make tokens up.

    Raises:
        ValueError: ``sub`` is missing, without which no token is valid.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise ValueError("a token has a subject: give it the claim sub")
    return identity_of(provider, issuer, RoleReader(rules, included_roles(includes)), VerifiedClaims(claims))
