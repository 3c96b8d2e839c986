"""Access tokens of this process's own token service, read whoever they are meant for.

The service is asked about tokens by those who have them, not by those for whom they are: what holds for a Check holds here
too, but for the audience and the roles, which are nobody's business at its endpoints.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from extauthz.errors import UpstreamError
from extauthz.identity.fetching import Fetched, FetchSettings, Posted
from extauthz.identity.jwt_issuer import JwtIssuer
from extauthz.identity.own_keys import OWN_ALGORITHMS, OwnKeys
from extauthz.identity.providers import RFC9068_CLAIMS, JwtProvider, Wait
from extauthz.identity.standing import TokenMarks
from extauthz.identity.token_form import CompactToken, read_token
from extauthz.model import Deny, Reason, VerifiedClaims

__all__ = ["OwnTokens"]


class OwnTokens:
    """Implements ``extauthz.tokens.ports.TokenReader``. Belongs to one event loop."""

    def __init__(self, issuer: str, keys: OwnKeys, *, now: Callable[[], float], clock_skew: float = 60.0) -> None:
        """``now`` is in seconds since the epoch; ``clock_skew`` is between replicas."""
        provider = JwtProvider(
            name="tokens",
            issuer=issuer,
            audiences=None,
            keys=keys,
            algorithms=OWN_ALGORITHMS,
            token_types=frozenset({"at+jwt"}),
            clock_skew=clock_skew,
            required_claims=RFC9068_CLAIMS,
        )
        self._issuer = JwtIssuer(provider, {}, fetcher=_Nowhere(), now=now)
        anyhow = replace(provider, keys=OwnKeys(keys.keeper, _Stands()))
        self._issued = JwtIssuer(anyhow, {}, fetcher=_Nowhere(), now=now)
        self._now = now

    def read(self, token: str) -> VerifiedClaims | Deny:
        """The claims of a token that verifies and stands, or why it does not."""
        form = read_token(token)
        return form if isinstance(form, Deny) else _claims(self._issuer, form, self._now())

    def issued(self, token: str) -> VerifiedClaims | None:
        """The claims of a token that was issued here, although it has expired or is revoked."""
        form = read_token(token)
        if isinstance(form, Deny):
            return None
        ends = form.unverified_claims.get("exp")
        if isinstance(ends, bool) or not isinstance(ends, int | float):
            return None
        # Judged in its last second: whatever else is wrong with it was wrong then.
        claims = _claims(self._issued, form, min(self._now(), ends - 1))
        return None if isinstance(claims, Deny) else claims


def _claims(issuer: JwtIssuer, token: CompactToken, now: float) -> VerifiedClaims | Deny:
    if token.issuer != issuer.issuer:
        return Deny(Reason.ISSUER_UNKNOWN, "iss is not that of this token service")
    verdict = issuer.identify(token, now, waited=True)
    if isinstance(verdict, Wait):
        return Deny(Reason.KEYS_UNAVAILABLE, "the keys have not arrived yet")
    return verdict if isinstance(verdict, Deny) else verdict.claims


class _Stands:
    """Implements ``extauthz.identity.standing.Standing`` for those who ask what a token was."""

    def doubts(self, marks: TokenMarks, now: float) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def refusal(self, marks: TokenMarks, issued: float, now: float) -> Deny | None:  # noqa: ARG002
        """None."""
        return None


class _Nowhere:
    """Own keys are fetched from nowhere."""

    async def get(self, url: str, _settings: FetchSettings) -> Fetched:
        """Nothing."""
        raise UpstreamError(f"{url} is not to be fetched")

    async def post(
        self, url: str, _form: Mapping[str, str], _headers: Mapping[str, str], _settings: FetchSettings
    ) -> Posted:
        """Nothing."""
        raise UpstreamError(f"{url} is not to be asked")
