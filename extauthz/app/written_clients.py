"""A client as it was written, in the configuration or by command, into the value that the token service works with.

Secrets and keys come from outside: the configuration names files that hold them, a command makes or is given them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from extauthz.config import TokenClient, Tokens, granted
from extauthz.tokens.clients import AuthenticationMethod, Client, ExchangeRules

__all__ = ["client_value"]

_GRANTS: Final = {
    "clientCredentials": "client_credentials",
    "refreshToken": "refresh_token",
    "tokenExchange": "urn:ietf:params:oauth:grant-type:token-exchange",
}


def client_value(
    written: TokenClient, tokens: Tokens, *, secret_digests: Sequence[bytes], public_keys: Mapping[str, Any] | None
) -> Client:
    """A client that has been found good, with its proofs."""
    exchange = written.exchange
    return Client(
        id=written.id,
        authentication=_method(written),
        grants=frozenset(_GRANTS[word] for word in granted(written)),
        audiences=tuple(written.audiences or tokens.audiences),
        roles=tuple(written.roles),
        scopes=tuple(dict.fromkeys(written.scopes)),
        lifetime=written.lifetime,
        refresh=written.refresh,
        renew=written.renew,
        exchange=None
        if exchange is None
        else ExchangeRules(
            frozenset(exchange.providers), None if exchange.may_grant is None else frozenset(exchange.may_grant)
        ),
        secret_digests=tuple(secret_digests),
        public_keys=public_keys,
        certificate_subject=written.certificate_subject or "",
        may_introspect=written.may_introspect,
    )


def _method(written: TokenClient) -> AuthenticationMethod:
    if written.jwks_file is not None:
        return "private_key_jwt"
    if written.certificate_subject is not None:
        return "tls_client_auth"
    return "client_secret_post" if written.secret_in == "form" else "client_secret_basic"  # noqa: S105 - a place
