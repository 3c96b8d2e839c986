"""Opaque tokens: what the operator says about an endpoint that knows which tokens are active (RFC 7662).

An opaque token says nothing by itself; its issuer is asked, over a connection of our own and as a client that the issuer
knows. So each provider of this kind names one endpoint and the credentials for it, and a token goes to that endpoint or
nowhere. The values here are what ``extauthz.app`` compiles the configuration into; ``extauthz.identity.introspector`` puts
them to work.
"""

import math
from dataclasses import dataclass

from extauthz.identity.client_settings import CLIENT_ALGORITHMS, ClientKey, ClientSecret
from extauthz.identity.fetching import STRICT_FETCH, FetchSettings
from extauthz.identity.providers import DEFAULT_PLACES, Place
from extauthz.identity.roles import NO_ROLES, RoleRules

__all__ = ["IntrospectionProvider"]

_MAX_TIMEOUT = 5.0
_MAX_AGE = 3600.0
_MIN_AGE = 1.0
_MAX_CLOCK_SKEW = 600.0
_MAX_CONCURRENT = 1000


@dataclass(frozen=True, slots=True)
class IntrospectionProvider:
    """An issuer of opaque tokens.

    Raises:
        ValueError: The parts can't be safe together.
    """

    name: str
    endpoint: str
    """The URL of the introspection endpoint. Tokens of this provider go there and nowhere else."""
    client: ClientSecret | ClientKey
    issuer: str | None = None
    """If given: what ``iss`` of an answer must be where there is one, and JSON Web Tokens of this issuer are introspected
    too. Identities have it as their issuer; None: they have the endpoint's URL."""
    audiences: frozenset[str] | None = frozenset()
    """One of these must be in ``aud`` of the answer; empty: an answer must have no ``aud``, since a token that is meant
    for somebody may not be meant for us; None: any (``["*"]``, a dangerous setting)."""
    subject_of_clients: bool = False
    """A token without ``sub`` is its client's own, and ``client_id`` is the subject. Only where no client can be called
    like a user."""
    clock_skew: float = 60.0
    """Seconds that the issuer's clock and ours may differ."""
    cache_max_age: float = 60.0
    """Seconds for which an active answer is believed: a revoked token is refused after at most this time."""
    inactive_max_age: float = 5.0
    """Seconds for which a refused token is refused without asking again."""
    max_concurrent: int = 32
    """Questions under way at a time; a token that would need one more is refused at once."""
    timeout: float = 1.0
    """Seconds for one question, from the connection to the last byte."""
    places: tuple[Place, ...] = DEFAULT_PLACES
    roles: RoleRules = NO_ROLES
    fetch: FetchSettings = STRICT_FETCH

    def __post_init__(self) -> None:
        """Refuse what could not be safe."""
        if fault := _fault(self):
            message = f"provider {self.name!r}: {fault}"
            raise ValueError(message)


def _fault(provider: IntrospectionProvider) -> str:
    """What is wrong with a provider; empty if nothing is."""
    client = provider.client
    checks = (
        (provider.name, "the name is empty"),
        (provider.endpoint, "the endpoint is empty"),
        (provider.issuer != "", "the issuer is empty"),
        (client.client_id, "the client's name is empty"),
        (isinstance(client, ClientSecret) or client.audience, "the assertion's audience is empty"),
        (isinstance(client, ClientSecret) or client.algorithm in CLIENT_ALGORITHMS, "the algorithm is not known"),
        (provider.audiences is None or all(provider.audiences), "an audience is empty"),
        (provider.places, "there is no place where its tokens could be"),
        (provider.fetch.token_file is None, "the client authenticates by its own credentials, not by tokenFile"),
        (_within(provider.clock_skew, 0, _MAX_CLOCK_SKEW), "clockSkew is out of bounds"),
        (_within(provider.cache_max_age, _MIN_AGE, _MAX_AGE), "cacheMaxAge is out of bounds"),
        (_within(provider.inactive_max_age, _MIN_AGE, _MAX_AGE), "inactiveMaxAge is out of bounds"),
        (_within(provider.timeout, 0, _MAX_TIMEOUT) and provider.timeout, "timeout is out of bounds"),
        (1 <= provider.max_concurrent <= _MAX_CONCURRENT, "maxConcurrent is out of bounds"),
    )
    return next((fault for fine, fault in checks if not fine), "")


def _within(seconds: float, least: float, most: float) -> bool:
    return math.isfinite(seconds) and least <= seconds <= most
