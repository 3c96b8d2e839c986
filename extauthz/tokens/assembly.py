"""The parts of the token service, put together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from extauthz.tokens.client_authentication import ClientAuthenticator
from extauthz.tokens.clients import Client
from extauthz.tokens.door import CLIENT, Door, Rates
from extauthz.tokens.exchange import TokenExchange
from extauthz.tokens.families import Families, RefreshTimes
from extauthz.tokens.grants import ClientCredentials, RefreshTokens
from extauthz.tokens.introspection import IntrospectionEndpoint
from extauthz.tokens.issuing import AccessTokens
from extauthz.tokens.journal import Journal
from extauthz.tokens.ports import (
    AssertionReader,
    AuditLog,
    Meter,
    Signer,
    SubjectVerifier,
    TokenMetrics,
    TokenReader,
    TokenStore,
)
from extauthz.tokens.registry import ClientRegistry
from extauthz.tokens.renewal import Renewal
from extauthz.tokens.revocation import RevocationEndpoint
from extauthz.tokens.service import TokenService
from extauthz.tokens.token_endpoint import TokenEndpoint

__all__ = ["Surroundings", "TokenSettings", "assemble"]


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What an operator decides."""

    issuer: str
    """``iss`` of all tokens, and the URL before all paths; without a final slash."""
    lifetime: float
    """Seconds that access tokens live, of clients that have no lifetime of their own."""
    renew_for: float
    """Seconds since ``auth_time`` within which an access token can be renewed."""
    refresh: RefreshTimes
    rates: Rates
    client_certificates: bool = False
    """The listener asks clients for theirs."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What other rooms do for it."""

    store: TokenStore
    signer: Signer
    reader: TokenReader
    subjects: SubjectVerifier
    assertions: AssertionReader
    audit: AuditLog
    meter: Meter
    metrics: TokenMetrics
    now: Callable[[], float]
    """Seconds since the epoch."""
    random_bytes: Callable[[int], bytes]
    """So many from the operating system."""


def assemble(
    settings: TokenSettings, clients: Mapping[str, Client], around: Surroundings
) -> tuple[TokenService, ClientRegistry]:
    """The service, and the registry through which the clients of the configuration can be exchanged while it runs."""
    now, random_bytes = around.now, around.random_bytes
    journal = Journal(around.audit, around.metrics, around.meter)
    registry = ClientRegistry(clients, around.store)
    authenticator = ClientAuthenticator(
        registry,
        around.store,
        around.assertions,
        issuer=settings.issuer,
        now=now,
        beyond_rate=lambda client_id: around.meter.wait(CLIENT, client_id, settings.rates.per_client),
    )
    door = Door(authenticator, around.meter, settings.rates)
    families = Families(
        around.store, settings.refresh, now=now, random_bytes=random_bytes, reused=around.metrics.reused
    )
    tokens = AccessTokens(
        settings.issuer, around.signer, lifetime=settings.lifetime, now=now, random_bytes=random_bytes
    )
    grants = (
        ClientCredentials(families, now=now, random_bytes=random_bytes),
        RefreshTokens(families),
        TokenExchange(around.subjects, settings.issuer),
    )
    service = TokenService(
        settings.issuer,
        around.signer,
        journal,
        tokens=TokenEndpoint(door, grants, tokens, journal),
        revocation=RevocationEndpoint(
            door=door, families=families, reader=around.reader, store=around.store, journal=journal, now=now
        ),
        introspection=IntrospectionEndpoint(
            door=door, registry=registry, families=families, reader=around.reader, journal=journal, now=now
        ),
        renewal=Renewal(
            door=door,
            registry=registry,
            families=families,
            reader=around.reader,
            tokens=tokens,
            journal=journal,
            renew_for=settings.renew_for,
            now=now,
        ),
        client_certificates=settings.client_certificates,
    )
    return service, registry
