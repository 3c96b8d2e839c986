"""``introspection``: an endpoint that is asked about opaque tokens (RFC 7662), and how we prove to it who we are."""

from typing import Annotated, Literal

from extauthz.config.durations import Duration
from extauthz.config.fields import FilePath, Section, SomeList, Text, one_of, within

__all__ = ["Introspection"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class Introspection(Section):
    """An endpoint that is asked about opaque tokens (RFC 7662).

    A token without the form of a JWT, found where this provider looks, is sent to the endpoint and nowhere else. A JWT is
    sent only if its `iss` is the `issuer` given here.
    """

    endpoint: Text
    """The URL of the introspection endpoint."""
    issuer: Text | None = None
    """Who issues the tokens: `iss` of an answer, where it has one, must be this, and JWTs of this issuer are introspected
    too. Absent: no JWT is, `iss` is not compared, and the caller's issuer is the endpoint's URL."""
    audiences: SomeList[Text] | None = None
    """The answer's `aud` must name one of these. Absent: an answer must have no `aud`, since a token that is meant for
    somebody may be meant for others than this service. `["*"]` takes tokens that were issued for others, and must be
    accepted in `acceptRisks`."""
    client_id: Text
    """What the issuer calls this service."""
    client_authentication: Literal["basic", "post", "privateKeyJwt"] = "basic"
    """How this service proves that to the endpoint. basic and post: by the secret in `clientSecretFile`, in a header or in
    the form. privateKeyJwt: by an assertion (RFC 7523) signed with the key in `privateKeyFile`."""
    client_secret_file: FilePath | None = None
    """The secret of basic and post: one line. Read again when it changes."""
    private_key_file: FilePath | None = None
    """The key of privateKeyJwt in PEM, without a password. Read again when it changes."""
    algorithm: Annotated[str, one_of(*_ALGORITHMS)] | None = None
    """What assertions are signed with: RS256 (the default), RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512,
    EdDSA."""
    key_id: Text | None = None
    """The `kid` of assertions. Absent: they have none."""
    assertion_audience: Text | None = None
    """The `aud` of assertions. Absent: `issuer`, or the endpoint's URL if that is not given."""
    missing_subject: Literal["refuse", "clientId"] = "refuse"
    """What becomes of a token whose answer has no `sub`. clientId: it is its client's own, and the client's name is the
    subject. Only where no client can be called like a user."""
    clock_skew: Annotated[float, Duration(0, 300)] = 60.0
    """How far the issuer's clock may be from ours."""
    cache_max_age: Annotated[float, Duration(1, 3600)] = 60.0
    """How long an active token is believed without asking again, never beyond its `exp`. A revoked token is refused after
    at most this time."""
    inactive_max_age: Annotated[float, Duration(1, 300)] = 5.0
    """How long a refused token is refused without asking again."""
    max_concurrent: Annotated[int, within(1, 1000)] = 32
    """Questions under way at a time. A token that would need one more is denied with 503 at once."""
    timeout: Annotated[float, Duration(0.01, 5)] = 1.0
    """The most time for one question. A Check waits for it no longer than `check.deadline`; an answer that comes later
    serves the next one."""
