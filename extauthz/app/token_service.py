"""The token service in a server: its parts from the configuration, what must run beside it, and how it is told.

Readiness waits for the first word of keys and revocations, good or bad, and for nothing after that: Checks go on while the
store or the keys are down, and each request for a token says for itself that it can't be answered now.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from extauthz.app.own_issuer import OwnIssuer
from extauthz.app.token_clients import ClientFiles
from extauthz.app.token_meter import TokenMeter
from extauthz.config import Config, Tokens
from extauthz.errors import AuditError, StoreError
from extauthz.identity import Authenticator, ClientAssertions, OwnTokens
from extauthz.model import Deny, Identity
from extauthz.serving import Readiness
from extauthz.telemetry import AuditFile, HttpRequests, RevocationCounts, Telemetry, TimedSigner, TokenWaits
from extauthz.tokens.assembly import Surroundings, TokenSettings, assemble
from extauthz.tokens.door import Rates
from extauthz.tokens.endpoints import Endpoints
from extauthz.tokens.families import RefreshTimes
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.metadata import ASSERTION_ALGORITHMS

__all__ = ["REVOCATIONS", "SIGNING_KEYS", "ServedTokens", "token_settings"]

_log = structlog.get_logger(__name__)

SIGNING_KEYS: Final = "signing keys"
REVOCATIONS: Final = "revocations"
"""Parts whose first word, good or bad, readiness waits for."""

_LOOK: Final = 0.1
"""Seconds between looks at the parts that are in memory, for readiness."""
_LOOK_AT_STORE: Final = 2.0
"""Seconds between looks at the others."""
_PURGE: Final = 60.0
"""Seconds between two times that the store forgets what has ended."""
_FOREIGN_KEYS: Final = 2.0
"""Seconds that the keys of a subject token's provider may take."""
_MAX_NAMES: Final = 200_000
"""Clients, sessions and addresses that are counted at a time."""


class ServedTokens:
    """The service, built; belongs to one event loop."""

    def __init__(
        self,
        config: Config,
        tokens: Tokens,
        own: OwnIssuer,
        identity: Authenticator,
        *,
        telemetry: Telemetry,
        waits: TokenWaits,
    ) -> None:
        """Build it; the files of the clients are read here. Raises ConfigError if they can't be used."""
        assertions = ClientAssertions(frozenset(ASSERTION_ALGORITHMS))
        self._own = own
        self._files = ClientFiles(tokens, assertions)
        self._clashes = ""
        metrics = telemetry.metrics
        self.observer = HttpRequests(
            metrics.http_series(), Endpoints(tokens.issuer), telemetry.tracer, clock=time.monotonic
        )
        """Sees the requests to the http listener."""
        around = Surroundings(
            store=own.store,
            signer=TimedSigner(waits, own.keys),
            reader=OwnTokens(tokens.issuer, own.own_keys, now=time.time),
            subjects=_Subjects(identity, waits),
            assertions=assertions,
            audit=own.audit,
            meter=TokenMeter(time.monotonic, _MAX_NAMES),
            metrics=metrics.token_series(),
            now=time.time,
            random_bytes=os.urandom,
        )
        self._service, self._registry = assemble(token_settings(config, tokens), self._files.read(), around)
        metrics.watch_signing(own.keys.state)
        metrics.watch_revocations(self._revocations)
        if own.log is not None:
            metrics.watch_audit(own.log.counts)

    def _revocations(self) -> RevocationCounts:
        known, feed = self._own.known, self._own.feed.state()
        return RevocationCounts(known.held, feed.age, known.refused, feed.losses)

    async def answer(self, question: HttpQuestion) -> HttpAnswer:
        """One request to the http listener."""
        return await self._service.answer(question)

    def tasks(self, readiness: Readiness) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What must run beside it, by name."""
        return {
            "signing keys": self._own.keys.run,
            "revocations": self._own.feed.run,
            "token clients": lambda: self._files.run(self._registry.configure),
            "token store": self._purge,
            "token state": lambda: self._report(readiness),
            "token service": self._close,
        }

    async def _close(self) -> None:
        """Close the parts when the server has stopped: its listeners go before what runs beside them."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._own.close()

    async def _purge(self) -> None:
        """Forget what has ended, and look who is registered twice, as long as the server runs."""
        while True:
            try:
                clashes = ", ".join(await self._registry.clashes())
                if clashes and clashes != self._clashes:
                    _log.warning("clients are in the configuration and in the store; the former count", clients=clashes)
                self._clashes = clashes
                await self._own.store.purge(time.time())
            except StoreError as error:
                _log.warning("the token store could not forget what has ended", error=str(error))
            await asyncio.sleep(_PURGE)

    async def _report(self, readiness: Readiness) -> None:
        """Tell readiness how the parts are, as long as the server runs."""
        look_at_store = 0.0
        while True:
            keys, feed = self._own.keys.state(), self._own.feed.state()
            # Before the first look there is nothing to tell, and readiness waits for it.
            if keys.usable or keys.failures:
                readiness.part_told(SIGNING_KEYS, ok=keys.usable and not keys.error, text=keys.sentence)
            if feed.believed or feed.error:
                readiness.part_told(REVOCATIONS, ok=feed.well, text=feed.sentence)
            if time.monotonic() >= look_at_store:
                look_at_store = time.monotonic() + _LOOK_AT_STORE
                await self._report_files(readiness)
            await asyncio.sleep(_LOOK)

    async def _report_files(self, readiness: Readiness) -> None:
        ok, text = await self._store_state()
        readiness.part_told("token store", ok=ok, text=text)
        error = self._files.error
        clash = f"in the store too, where they don't count: {self._clashes}" if self._clashes else "in force"
        readiness.part_told("token clients", ok=not error, text=f"as before: {error}" if error else clash)
        if self._own.log is not None:
            ok, text = _log_state(self._own.log)
            readiness.part_told("audit log", ok=ok, text=text)

    async def _store_state(self) -> tuple[bool, str]:
        try:
            told = await self._own.kept.look()
        except StoreError as error:
            return False, f"{error}; looked at again every {_LOOK_AT_STORE:g} s"
        return True, f"in use{f': {told}' if told else ''}, looked at again every {_LOOK_AT_STORE:g} s"


class _Subjects:
    """Implements ``extauthz.tokens.ports.SubjectVerifier`` by the providers of this process."""

    def __init__(self, identity: Authenticator, waits: TokenWaits) -> None:
        self._identity = identity
        self._waits = waits

    async def verify(self, token: str, providers: frozenset[str]) -> tuple[Identity, float | None] | Deny:
        """Whom a token proves to one of these providers, and until when."""
        verdict = await self._waits.waited("provider", self._identity.verify(token, providers, within=_FOREIGN_KEYS))
        return verdict if isinstance(verdict, Deny) else (verdict, verdict.expires)


def token_settings(config: Config, tokens: Tokens) -> TokenSettings:
    """What the operator has decided."""
    tls = config.listen.http.tls
    return TokenSettings(
        issuer=tokens.issuer,
        lifetime=tokens.access_token_lifetime,
        renew_for=tokens.renew_for,
        refresh=RefreshTimes(tokens.refresh.lifetime, tokens.refresh.idle, tokens.refresh.grace),
        rates=Rates(
            per_client=tokens.rates.per_client,
            failures_per_address=tokens.rates.failures_per_address,
            refresh_per_session=tokens.rates.refresh_per_session,
        ),
        client_certificates=tls is not None and tls.client_ca_file is not None,
    )


def _log_state(log: AuditFile) -> tuple[bool, str]:
    counts = log.counts()
    told = f"{counts.written} written" + (f", {counts.failed} could not be" if counts.failed else "")
    try:
        log.probe()
    except AuditError as error:
        return False, f"{error}; {told}, tried again with each event"
    return True, f"in use, {told}"
