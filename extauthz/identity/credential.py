"""The one token of a request, as ``credentials`` finds it and the authenticator judges it."""

from dataclasses import field

from extauthz.model import value

__all__ = ["Credential"]


@value
class Credential:
    """The one token of a request."""

    token: str = field(repr=False)
    providers: frozenset[str]
    """Names of the providers that take tokens from where this one was."""
    parameter: str = ""
    """The query parameter that held it, as the client spelled the name; empty if it was elsewhere."""
