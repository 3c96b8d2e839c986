"""The object graph on one screen, and the process that runs it.

Everything that decides is built here and handed what it needs: nothing looks anything up. Clocks and random identifiers
come from here as well, so that all other code can be given other ones.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from extauthz import __version__
from extauthz.app.limiter import rate_limiter
from extauthz.app.observation import PhaseWatch, decision_settings, report_log, trace_settings
from extauthz.app.open_secrets import tell_open_secrets
from extauthz.app.own_issuer import OwnIssuer
from extauthz.app.providers import authenticator
from extauthz.app.renewal import Renewal
from extauthz.app.signing import in_vault_of
from extauthz.app.token_service import REVOCATIONS, SIGNING_KEYS, ServedTokens
from extauthz.app.values import denied_limit, listener, policy_settings, request_rules
from extauthz.app.vault import Secrets
from extauthz.check import Check
from extauthz.config import Config
from extauthz.fetch import HttpFetcher
from extauthz.identity import Authenticator
from extauthz.policy import PolicyText, Snapshot, empty, load
from extauthz.serving import (
    CheckHandler,
    GrpcOptions,
    Handler,
    HttpParts,
    PatientHandler,
    PolicyReloader,
    Readiness,
    Server,
    ServerParts,
    WorkerPlace,
    is_private,
)
from extauthz.telemetry import (
    Activity,
    Metrics,
    Telemetry,
    configure_logs,
    open_telemetry,
    toggle_debug,
)
from extauthz.wire import INTERNAL_ERROR_ANSWER, Encoder

__all__ = ["build", "serve"]

_LOOK_AT_PROVIDERS = 0.2
"""Seconds between looks at the providers' states, for readiness."""


def serve(
    config: Config,
    worker: WorkerPlace | None = None,
    *,
    secrets: Secrets | None = None,
    reload: Callable[[], Config] | None = None,
) -> int:
    """Run the server until it is asked to stop; gives the exit code. ``worker``: it is one of several.

    ``secrets`` has what the configuration refers to; where one of its values changes, the configuration is read again with
    ``reload``, and a server with it takes the place of the one that runs. Of several workers the supervisor sees to that.

    Raises:
        ConfigError, PolicyError, ServingError: It can't start; nothing was opened.
    """
    configure_logs(config.telemetry.logs.level)
    if worker is None:  # of several workers the supervisor tells
        tell_open_secrets(config)
    asyncio.run(_serve(config, worker, secrets, reload))
    return 0


async def _serve(
    config: Config, worker: WorkerPlace | None, secrets: Secrets | None, reload: Callable[[], Config] | None
) -> None:
    renewal: Renewal | None = Renewal(config, reload)
    while renewal is not None:
        server, telemetry = build(renewal.config, worker, secrets, renewal.changed)
        try:
            renewal = await renewal.serve(server)
        finally:
            await telemetry.close()


def build(
    config: Config,
    worker: WorkerPlace | None = None,
    secrets: Secrets | None = None,
    changed: Callable[[Sequence[str]], None] = lambda _names: None,
) -> tuple[Server, Telemetry]:
    """All objects of one server, in the running event loop; nothing is opened yet. ``changed`` is told of secrets."""
    tokens = config.tokens
    metrics = Metrics(version=__version__)
    waits = None if tokens is None else metrics.token_waits(time.monotonic)
    own = (
        None
        if tokens is None or waits is None
        else OwnIssuer(config, tokens, None if secrets is None else in_vault_of(secrets, config), time.time, waits)
    )
    identity = authenticator(config, HttpFetcher(), time.time, None if own is None else own.own_keys)
    counted = rate_limiter(config, time.monotonic)
    check = Check(
        identity,
        empty(),
        request_rules(config),
        limiter=counted.limiter,
        denied=denied_limit(config, time.monotonic),
        new_id=_new_ids(),
    )
    readiness = Readiness(
        (provider.name for provider in config.providers), () if tokens is None else (SIGNING_KEYS, REVOCATIONS)
    )
    metrics.watch_providers(identity.states)
    metrics.watch_token_cache(identity.cache_counts)
    metrics.watch_limiter(counted.memory)
    if counted.store is not None:
        metrics.watch_store(counted.store)
    if secrets is not None:
        metrics.watch_vault(secrets.counts, lambda: secrets.unrevoked)
    admin = listener(config.listen.admin) if worker is None else worker.admin_listener
    activity = (
        Activity(now=time.time, clock=time.monotonic, omit=config.telemetry.decisions.omit)
        if is_private(admin)
        else None
    )
    telemetry = open_telemetry(
        trace_settings(config),
        decision_settings(config),
        metrics,
        version=__version__,
        now=time.time,
        activity=activity,
    )
    watch = PhaseWatch(check, identity, counted.limiter, telemetry, activity)
    handler: Handler = CheckHandler(
        check,
        Encoder(
            reasons=config.responses.reasons,
            basic=any(provider.basic is not None for provider in config.providers),
            rate_limits=config.responses.rate_limits,
        ),
        telemetry,
        deadline=config.check.deadline,
        max_in_flight=config.check.max_in_flight,
        clock=time.monotonic,
    )
    if telemetry.log is not None:
        handler = PatientHandler(
            handler,
            telemetry.log,
            metrics.held_back,
            deadline=config.check.deadline,
            max_waiting=config.check.max_in_flight,
            clock=time.monotonic,
        )
    served = (
        None
        if tokens is None or own is None or waits is None
        else ServedTokens(config, tokens, own, identity, telemetry=telemetry, waits=waits)
    )
    settings = policy_settings(config)

    def compile_policies(texts: Sequence[PolicyText], generation: int) -> Snapshot:
        return load(texts, settings, generation)

    def publish(snapshot: Snapshot) -> None:
        metrics.watch_policies(snapshot.told_in_shadow, snapshot.rated)  # before the first Check that could be counted
        check.snapshot = snapshot

    def count(outcome: str, generation: int) -> None:
        metrics.policy_loaded("success" if outcome == "loaded" else "failure", generation)

    policies = PolicyReloader(
        config.policies.files,
        compile_policies,
        publish,
        readiness,
        count,
        may_be_absent="files" not in config.policies.model_fields_set,
    )
    parts = ServerParts(
        check=listener(config.listen.check) if worker is None else worker.check(listener(config.listen.check)),
        admin=admin,
        handler=handler,
        fallback=INTERNAL_ERROR_ANSWER,
        policies=policies,
        readiness=readiness,
        http=None
        if served is None
        else HttpParts(
            listener(config.listen.http), served.answer, None if worker is None else worker.http, served.observer
        ),
        metrics=metrics.page,
        activity=None if activity is None else watch.look,
        certified=metrics.certificate,
        toggle_debug=lambda: toggle_debug(config.telemetry.logs.level),
        transport=config.listen.check.transport,
        options=GrpcOptions(
            max_message_bytes=config.check.max_message_bytes,
            max_connection_age=config.listen.check.max_connection_age,
            reflection=config.listen.check.reflection,
        ),
        tasks={
            "keys": identity.run,
            "provider states": lambda: _report_providers(identity, readiness),
            "phases": watch.run,
            "log state": lambda: report_log(telemetry, readiness),
            **counted.tasks(readiness),
            **({} if served is None else served.tasks(readiness)),
            **({} if secrets is None else secrets.tasks(readiness, changed)),
        },
        supervisor=None if worker is None else worker.lifeline,
        drain_delay=config.check.drain_delay,
        grace=config.check.grace,
    )
    return Server(parts), telemetry


async def _report_providers(identity: Authenticator, readiness: Readiness) -> None:
    """Tell readiness how the providers are, as long as the server runs."""
    while True:
        for state in identity.states():
            if state.usable or state.error:
                readiness.provider_told(state.name, ok=state.usable and not state.error, text=state.sentence)
        await asyncio.sleep(_LOOK_AT_PROVIDERS)


def _new_ids() -> Callable[[], str]:
    """Identifiers of 96 random bits: unique among replicas, and no secret."""
    bits = random.SystemRandom().getrandbits(128)
    draw = random.Random(bits).getrandbits  # noqa: S311 - an identifier that nobody has to guess
    return lambda: f"{draw(96):024x}"
