"""How somebody came to be known, or not: the steps of authentication, written down for a person.

A decision needs the outcome alone and stops at the first refusal. An explanation goes the same way once more and keeps
what it passes: every place where a credential may be, the one that was found, the provider that its form picked, each
check of its token, and what became of every name in its claims. Both ask the same objects (``CredentialReader``,
``JwtVerifier.judge``, ``RoleReader.grants``), and the outcome itself is that of ``authenticate``; a property test holds
the steps and the outcome together.

No step holds a credential. Of a token that nobody has verified its header and issuer are told, cut to a bearable length:
they are what its sender wrote, and no secret, but whoever shows them has to spell out control characters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extauthz.identity.credential import Credential
from extauthz.identity.credentials import CredentialReader
from extauthz.identity.roles import ClaimPath, Grant, RoleError, RoleReader, scopes_of
from extauthz.identity.token_form import CompactToken
from extauthz.model import ANONYMOUS, Deny, Identity, Request

__all__ = ["IdentitySeen", "Step", "place_steps", "role_steps", "roles_step", "token_step", "token_value"]

_LONGEST = 128
"""Characters of one value that a sender or an issuer wrote."""
_NAMED = 20
"""Names of one claim that are told."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was asked on the way to a caller."""

    about: str
    """A stable word: ``place``, ``credential``, ``form``, ``provider``, ``keys``, ``answer``, ``roles``, or a check of a
    token (``algorithm``, ``type``, ``key``, ``signature``, ``text``, ``audience``, ``times``, ``claims``, ``kind``,
    ``standing``)."""
    asked: str
    """What was asked, as a statement that holds or not, or where was looked."""
    holds: bool | None = None
    """None: nothing depends on it."""
    value: str = ""
    """What was found."""
    fault: str = ""
    """Why it does not hold."""


@dataclass(frozen=True, slots=True)
class IdentitySeen:
    """All steps, and where they led."""

    steps: tuple[Step, ...]
    found: Identity | Deny | None
    """As ``Authenticator.authenticate`` says it."""


def place_steps(reader: CredentialReader, request: Request) -> list[Step]:
    """What is in every place, and whether that is one credential."""
    steps = []
    for name, finding in reader.look(request):
        if isinstance(finding, Credential):
            steps.append(Step("place", name, holds=True, value=f"a credential of {len(finding.token)} characters"))
        elif finding is None:
            steps.append(Step("place", name, value="nothing"))
        else:
            steps.append(Step("place", name, holds=False, fault=finding.detail))
    found = reader.find(request)
    if isinstance(found, Deny):
        return [*steps, Step("credential", "the request carries one credential", holds=False, fault=found.detail)]
    if found is None:
        looked = "" if steps else ": there is no place to look at"
        return [*steps, Step("credential", "the request carries one credential", value=f"none{looked}")]
    return [*steps, Step("credential", "the request carries one credential", holds=True)]


def token_step(token: CompactToken | Deny) -> Step:
    """What the form of a credential says that has to be a JSON Web Token."""
    asked = "it is a well-formed JSON Web Token"
    if isinstance(token, Deny):
        return Step("form", asked, holds=False, fault=token.detail)
    said = {"alg": token.algorithm, "typ": token.type, "kid": token.key_id, "iss": token.issuer}
    value = ", ".join(f"{name} {_said(part)}" for name, part in said.items() if part is not None)
    return Step("form", asked, holds=True, value=value)


def token_value(check: str, token: CompactToken) -> str:
    """What a token has for one of the checks of ``JwtVerifier.judge``; empty if that says nothing to a person."""
    claims = token.unverified_claims
    match check:
        case "algorithm":
            return _said(token.algorithm)
        case "type":
            return "absent" if token.type is None else _said(token.type)
        case "key":
            return "no kid" if token.key_id is None else f"kid {_said(token.key_id)}"
        case "audience":
            return ", ".join(f"{name} {_said(claims[name])}" for name in ("aud", "client_id") if name in claims)
        case "times":
            return ", ".join(f"{name} {_date(claims[name])}" for name in ("iat", "nbf", "exp") if name in claims)
        case _:
            return ""


def role_steps(reader: RoleReader, claims: Mapping[str, Any]) -> Iterator[Step]:
    """From the names in verified claims to roles: read, mapped, kept as far as the provider may give them, included."""
    names: dict[ClaimPath, list[Grant]] = {path: [] for path in reader.claims}
    fault = ""
    roles: frozenset[str] = frozenset()
    try:
        for grant in reader.grants(claims):
            names[grant.claim].append(grant)
        roles = reader.roles(claims)
        scopes_of(claims)
    except RoleError as error:
        fault = str(error)
    for path, grants in names.items():
        told = [_granted(grant) for grant in grants[:_NAMED]]
        more = [f"and {len(grants) - _NAMED} more"] if len(grants) > _NAMED else []
        yield Step("roles", f"names in the claim {path}", value=", ".join([*told, *more]) or "none")
    kept = dict.fromkeys(grant.role for grants in names.values() for grant in grants if grant.kept)
    for role in list(kept)[:_NAMED]:
        inner = reader.included(role)
        if inner:
            yield Step("roles", f"what role {_said(role)} includes", value=", ".join(sorted(inner)))
    yield roles_step(roles, fault)


def roles_step(roles: frozenset[str], fault: str = "") -> Step:
    """The roles that a caller has in the end, or why the claims give none."""
    named = [_said(role) for role in sorted(roles)]
    more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
    value = "" if fault else ", ".join([*named[:_NAMED], *more]) or "none"
    return Step("roles", "the claims give roles", holds=not fault, value=value, fault=fault)


def _granted(grant: Grant) -> str:
    """A name and what became of it."""
    name, role = _said(grant.name), _said(grant.role)
    mapped = name if grant.role == grant.name else f"{name} -> {role}"
    if grant.kept:
        return mapped
    if not grant.role:
        return f"{name} (gives no role)"
    return f"{mapped} ({'nobody may give it' if grant.role == ANONYMOUS else 'not in mayGrant'})"


def _date(value: object) -> str:
    """A NumericDate as a person reads it; anything else as it is."""
    try:
        return datetime.fromtimestamp(float(str(value)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return _said(value)


def _said(value: object) -> str:
    """A value of a token as text of a bearable length."""
    if isinstance(value, list):
        value = ", ".join(_said(item) for item in value[:_NAMED]) + (", ..." if len(value) > _NAMED else "")
    text = value if isinstance(value, str) else f"{value:.0f}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
