"""Recorded requests before other policies: the parts that ``extauthz replay`` needs, built from the configuration.

A decision log needs no provider: who called stands in it. A CheckRequest has the credentials themselves, so the providers
of the configuration are asked, which may fetch keys; or the caller is told. Its own token service is asked for keys and
revocations as they are now.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extauthz.app.engine import engine
from extauthz.app.own_issuer import seen_issuer
from extauthz.app.providers import authenticator, credential_places
from extauthz.app.vault import Secrets
from extauthz.check import Authenticator, Check
from extauthz.config import Config
from extauthz.errors import ExtAuthzError
from extauthz.fetch import HttpFetcher
from extauthz.model import AttributeContext, Decision, Identity, Reason
from extauthz.wire import decode, decode_json
from extauthz.workbench.engine import Engine
from extauthz.workbench.given import Given
from extauthz.workbench.replay import (
    Comparison,
    Replayer,
    Skipped,
    check_requests,
    is_check_request,
    log_lines,
    outcome_of,
    read_record,
    route_of,
)

__all__ = ["replay"]

_PATIENCE = 10.0
"""Seconds for the keys that one request needs."""
_STEP = 512
"""Records between two words about the progress."""


def replay(
    config: Config,
    secrets: Secrets,
    paths: Sequence[str],
    policies: Sequence[str] = (),
    *,
    told: Identity | None = None,
    examples: int = 3,
    progress: Callable[[int, int], None] = lambda _bytes, _records: None,
) -> Comparison:
    """Judge the requests at some paths by other policies, and compare.

    A path is a decision log (plain, gzipped, ``-``), whose own answers are compared with, or a CheckRequest or a folder of
    some, for which the answers of the policies in force are. ``policies`` are files or folders; none: those in force.
    ``told`` is the caller of all CheckRequests; None: their credentials are judged. ``progress`` is told how many bytes
    and records were read so far.

    Raises:
        PolicyError, ConfigError: Policies, or the configuration, can't be used.
        ExtAuthzError: There is nothing to replay.
    """
    requests = [path for path in paths if is_check_request(path)]
    logs = [path for path in paths if not is_check_request(path)]
    if requests and not policies:
        raise ExtAuthzError("CheckRequests have no answer yet: name the policies to compare with, --policies new/")
    if logs and told is not None:
        raise ExtAuthzError("the records of a decision log have their own callers: a caller is for CheckRequests alone")
    new = engine(config, policies or None)
    comparison = Comparison(examples)
    read = _replay_logs(config, logs, new, comparison, progress) if logs else 0
    if requests:
        files = [file for path in requests for file in check_requests(path)]
        old = engine(config)
        checks = _CheckRequests(files, old, new, told, comparison, lambda done: progress(read, done))
        asyncio.run(checks.replay(config, secrets))
    if not comparison.records:
        raise ExtAuthzError("there is nothing in it: no record, no request")
    if comparison.records == comparison.skipped[Skipped.MALFORMED]:
        raise ExtAuthzError(f"{comparison.first_malformed}: neither a decision record nor a CheckRequest")
    return comparison


def _replay_logs(
    config: Config,
    paths: Iterable[str],
    new: Engine,
    comparison: Comparison,
    progress: Callable[[int, int], None],
) -> int:
    """Replay decision logs; gives how many bytes were read."""
    mesh = [provider for provider in config.providers if provider.mesh is not None]
    peers = authenticator(config.model_copy(update={"providers": tuple(mesh)}), HttpFetcher(), time.time)
    xfcc = [provider.mesh.xfcc for provider in mesh if provider.mesh is not None and provider.mesh.xfcc is not None]
    gateways = {peer for each in xfcc for peer in each.trusted_peers} | {"" for each in xfcc if each.without_principal}
    names = frozenset(provider.name for provider in mesh)
    replayer = Replayer(new, comparison, peers=peers, gateways=frozenset(gateways), places=credential_places(config))
    before = now = 0

    def note(read: int) -> None:
        nonlocal now
        now = read

    for path in paths:
        now = 0
        for line in log_lines(path, note):
            record = read_record(line.text, names)
            if isinstance(record, Skipped):
                comparison.skip(record, f"{line.file}:{line.number}")
            else:
                replayer.replay(record)
            if not line.number % _STEP:
                progress(before + now, comparison.records)
        before += now
    progress(before, comparison.records)
    return before


@dataclass(frozen=True, slots=True)
class _CheckRequests:
    """CheckRequests in files, each judged by the old policies and by the new ones."""

    files: Sequence[Path]
    old: Engine
    new: Engine
    told: Identity | None
    comparison: Comparison
    progress: Callable[[int], None]

    async def replay(self, config: Config, secrets: Secrets) -> None:
        """Judge all of them."""
        if self.told is not None:
            await self._replay_by(Given(self.told))
            return
        async with seen_issuer(config, secrets) as seen:
            providers = authenticator(config, HttpFetcher(), time.time, seen.keys)
            keys = asyncio.create_task(providers.run())
            try:
                await self._replay_by(providers)
            finally:
                keys.cancel()
                with suppress(asyncio.CancelledError):
                    await keys

    async def _replay_by(self, callers: Authenticator) -> None:
        comparison, told = self.comparison, self.told
        old, new = self.old.check(callers), self.new.check(callers)
        for file in self.files:
            sent = _read(file)
            if sent is None:
                comparison.skip(Skipped.MALFORMED, str(file))
            else:
                http = sent.http
                route = route_of("", "", "") if http is None else route_of(http.method, http.host, http.path)
                before = outcome_of(await _decide(old, sent))
                comparison.captured += 1
                after = await _decide(new, sent)
                if told is not None and after.request is not None:
                    selection = self.new.snapshot.select(after.request)
                    if selection and Given(told).overlooked(selection.providers, frozenset()):
                        comparison.overlooked[told.provider] += 1
                comparison.add(before, after, route, file.name)
            self.progress(comparison.records)


def _read(file: Path) -> AttributeContext | None:
    """The Check in a file; None if there is none."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ExtAuthzError(f"{file} can't be read: {error.strerror}") from None
    sent = decode_json(content) if file.suffix == ".json" else decode(content)
    return None if sent.fault and sent.http is None else sent


async def _decide(check: Check, sent: AttributeContext) -> Decision:
    """A decision, for whose keys somebody has time."""
    decided = check.decide(sent)
    if isinstance(decided, Decision):
        return decided
    try:
        async with asyncio.timeout(_PATIENCE):
            return await decided.settle()
    except TimeoutError:
        return check.refuse(Reason.DEADLINE_EXCEEDED, "the provider's keys did not come", sent, decided.request)
