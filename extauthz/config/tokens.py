"""``tokens``: the token service. It is there if the section is.

What a client may have is written here and nowhere else: an omitted list gives nothing, and each client names one way to
prove who it is. How the values must fit together is told by ``extauthz.config.token_checks``.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from extauthz.config.audit import Audit
from extauthz.config.durations import Duration
from extauthz.config.fields import AnyList, FilePath, ProviderName, Role, Section, SomeList, Text, within
from extauthz.config.signing import SigningKeys
from extauthz.documents import FieldError
from extauthz.tokens.clients import MINT

__all__ = ["Exchange", "Rates", "Refresh", "TokenClient", "Tokens"]

_DAY = 86_400.0
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~/@-]{0,127}\Z")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")

SecretPlace = Literal["header", "form"]
GrantWord = Literal["clientCredentials", "refreshToken", "tokenExchange"]


def _client_id(text: str) -> str:
    if not _ID.match(text):
        message = f"{text!r} can't be the id of a client"
        raise FieldError(message, "at most 128 letters, digits and . _ ~ / @ -, the first one a letter or a digit")
    if text == MINT:
        message = f"{text!r} is the client of tokens that are made by extauthz token mint, and nobody can be it"
        raise FieldError(message, "choose another id")
    return text


def _scope(text: str) -> str:
    if not _SCOPE.match(text):
        message = f"{text!r} can't be a scope"
        raise FieldError(message, "one word of printable ASCII without quotes and backslashes")
    return text


def _audience(text: str) -> str:
    if text == "*":
        raise FieldError("'*' would be a token for everybody", "name whom the tokens are for")
    return text


AudienceName = Annotated[Text, AfterValidator(_audience)]


class Refresh(Section):
    """Refresh tokens. Each is good once and comes with the next; who uses one twice ends all that follow from the grant."""

    lifetime: Annotated[float, Duration(60, 400 * _DAY)] = 30 * _DAY
    """How long after the grant the last of them ends."""
    idle: Annotated[float, Duration(60, 400 * _DAY)] = 7 * _DAY
    """After how long without use they end."""
    grace: Annotated[float, Duration(0, 300)] = 30.0
    """For how long a token that was just used gives the same answer again, to a client that did not get it."""


class Rates(Section):
    """How often the token service may be asked, in any 60 seconds, counted by each process. Beyond it there is 429."""

    per_client: Annotated[int, within(1, 1_000_000)] = 600
    """Requests of one client that has proved who it is, to all endpoints together."""
    failures_per_address: Annotated[int, within(1, 1_000_000)] = 60
    """Requests of one address that prove nobody. A good proof from there is taken nevertheless: nobody is locked out."""
    refresh_per_session: Annotated[int, within(1, 1_000_000)] = 12
    """`POST /refresh` for all tokens that follow from one grant."""


class Exchange(Section):
    """What a client may exchange (RFC 8693)."""

    providers: SomeList[ProviderName]
    """The providers whose tokens it may bring."""
    may_grant: AnyList[Role] | None = None
    """Which of the roles that the provider gives the new token may have. Absent: all of them."""


class TokenClient(Section):
    """A client: a program that gets tokens. It proves who it is in the one way that is written: by a secret, by a key, or by
    a certificate.
    """

    id: Annotated[Text, AfterValidator(_client_id)]
    """What it calls itself, and the `sub` of its own tokens."""
    secret_file: FilePath | None = None
    """A file with its secret in one line, of 160 random bits or more (`openssl rand -base64 32`). Read again when it
    changes."""
    secret_files: SomeList[FilePath] | None = None
    """Several such files, all in force: the next secret is there before the last one goes."""
    secret_in: SecretPlace = "header"  # noqa: S105 - a place
    """Where requests have the secret: header, in `Authorization: Basic`; form, in `client_secret`."""
    jwks_file: FilePath | None = None
    """Its public keys (a JWK Set), with which its assertions are verified (`private_key_jwt`, RFC 7523). Read again when
    it changes."""
    certificate_subject: Text | None = None
    """The URI or DNS name (SAN) of its certificate (`tls_client_auth`, RFC 8705)."""
    grants: SomeList[GrantWord] | None = None
    """clientCredentials, refreshToken, tokenExchange. Absent: what the other keys ask for; clientCredentials if that is
    nothing."""
    audiences: SomeList[AudienceName] | None = None
    """Whom its tokens may be for (`aud`): the first unless it asks for others. Absent: `tokens.audiences`."""
    scopes: AnyList[Annotated[Text, AfterValidator(_scope)]] = ()
    """What it may ask for in `scope`; all of it unless it asks for less."""
    roles: AnyList[Role] = ()
    """The `roles` of its own tokens."""
    lifetime: Annotated[float, Duration(1, _DAY)] | None = None
    """How long its access tokens live. Absent: `tokens.accessTokenLifetime`."""
    refresh: bool = False
    """true: its own tokens come with a refresh token."""
    renew: bool = False
    """true: whoever has a token of its may renew it by `POST /refresh`."""
    exchange: Exchange | None = None
    """What it may exchange. Absent: nothing."""
    may_introspect: bool = False
    """true: it may ask about all tokens that are meant for one of its `audiences`; else only about its own, and those that
    are meant for its `id`."""


class Tokens(Section):
    """The token service, on `listen.http`."""

    issuer: Text
    """The URL by which others reach it, and the `iss` of its tokens: https, or http on loopback; without a final slash."""
    audiences: AnyList[AudienceName] = ()
    """Whom tokens of clients without `audiences` of their own may be for."""
    access_token_lifetime: Annotated[float, Duration(1, _DAY)] = 300.0
    """How long access tokens live. Whoever loses one has lost it for so long, unless it is revoked."""
    renew_for: Annotated[float, Duration(1, 400 * _DAY)] = _DAY
    """For how long after a client has authenticated its access tokens can be renewed (`POST /refresh`)."""
    refresh: Refresh = Refresh()
    """How long refresh tokens are good."""
    rates: Rates = Rates()
    """How often it may be asked."""
    revocations_max_age: Annotated[float, Duration(1, 3600)] = 60.0
    """For how long the list of what was revoked is believed while the store can't be read. Then the service's own tokens
    are refused with 503, so that none is let through that was revoked elsewhere."""
    keys: SigningKeys = SigningKeys()
    """What tokens are signed with."""
    audit: Audit | None = None
    """The log of what was done. Absent: none is kept."""
    clients: AnyList[TokenClient] = ()
    """The clients. Those that `extauthz token` has put into the store are there besides; of one id, the one here counts."""

    @property
    def longest_token(self) -> float:
        """The longest that an access token may live, in seconds."""
        return max([self.access_token_lifetime, *(client.lifetime or 0.0 for client in self.clients)])
