"""What a server said at two moments, as what happened between them. Pure: no clock, no socket, no terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Count", "Phase", "Provider", "Seen", "Tokens", "View", "view"]

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
_CHECKS = "extauthz_check_total"
_DURATION = "extauthz_check_duration_seconds_bucket"
_MANY = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server said at one moment."""

    at: float
    """Seconds by a monotonic clock."""
    samples: Samples
    report: Sequence[str]
    """Its ``/readyz?verbose``."""
    activity: str
    """Its ``/activity``; empty if it does not tell."""


@dataclass(frozen=True, slots=True)
class Count:
    """Something that is counted."""

    name: str
    per_second: float
    total: float


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of every Check."""

    name: str
    seconds: float
    """What it takes of one Check, as a mean."""
    share: float
    """Of the whole time, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of identities."""

    name: str
    usable: bool
    keys_age: float | None
    """Seconds since its keys were fetched; None if it has none."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token service."""

    issued: tuple[Count, ...]
    """By grant, the most frequent first."""
    refused: tuple[Count, ...]
    """By the code of the error, likewise."""
    reused: Count
    """Refresh tokens that were used twice."""
    revocations: float
    """In force."""
    revocations_age: float | None
    """Seconds since they were read; None if they never were."""
    signs: bool
    """Whether tokens can be signed."""
    keys: Mapping[str, float]
    """The age of the newest signing key in each slot that has one, in seconds."""
    signature: float | None
    """Seconds for one; None if there was none."""
    store: bool
    """Whether it can be used."""
    vault: bool | None
    """Whether Vault is asked; None if there is none."""
    vault_token: float | None
    """Seconds that our token of it lasts; None if it never ends, or there is none."""
    unrecorded: float
    """Events that the audit log does not have."""


@dataclass(frozen=True, slots=True)
class View:
    """A server at a glance."""

    ready: bool
    troubles: tuple[str, ...]
    """Parts that are not well, in its own words."""
    allowed: float
    denied: float
    """A second."""
    p50: float | None
    p99: float | None
    """Seconds; None if there was no Check."""
    inflight: float
    cpu: float | None
    """Seconds of CPU for a Check; None if there was no Check."""
    memory: float
    """Bytes."""
    reasons: tuple[Count, ...]
    """Of denials, the most frequent first."""
    rules: tuple[Count, ...]
    """The busiest."""
    phases: tuple[Phase, ...]
    """Where the time of Checks goes, the slowest first; empty if none was timed."""
    limits: tuple[Count, ...]
    """Charges of rules with a rate, by what became of them."""
    providers: tuple[Provider, ...]
    remembered: float | None
    """The share of tokens that had been seen before; None if none was shown."""
    store: bool | None
    """Whether the store is asked; None if there is none."""
    generation: int
    """Of the policies."""
    tokens: Tokens | None
    """None: the server issues none."""
    workers: tuple[Count, ...]
    denials: tuple[Mapping[str, Any], ...]
    """The last ones, as decision records, newest first."""
    told: bool
    """Whether it tells rules and denials."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def view(before: Seen, now: Seen) -> View:
    """What happened between two moments."""
    between = _Between(before, now)
    checks = between.by("result", _CHECKS)
    activity = json.loads(now.activity) if now.activity else {}
    allowed, denied = checks.get("allow", 0.0), checks.get("deny", 0.0)
    answered = (allowed + denied) * between.seconds
    spent = between.grown("process_cpu_seconds_total")
    hits, looks = between.by("outcome", "extauthz_identity_cache_total"), 0.0
    looks = sum(hits.values())
    return View(
        ready=bool(now.report) and now.report[-1] == "ready",
        troubles=tuple(line for line in now.report if line.lstrip().startswith("[-]")),
        allowed=allowed,
        denied=denied,
        p50=between.quantile(0.5),
        p99=between.quantile(0.99),
        inflight=now.samples.get(("extauthz_inflight", ()), 0.0),
        cpu=spent / answered if answered else None,
        memory=now.samples.get(("process_resident_memory_bytes", ()), 0.0),
        reasons=between.counts("reason", _CHECKS, {"result": "deny"}),
        rules=between.rules(before.activity, activity),
        phases=_phases(before.activity, activity),
        limits=between.counts("outcome", "extauthz_limit_total"),
        providers=_providers(now.samples),
        remembered=hits.get("hit", 0.0) / looks if looks else None,
        store=_flag(now.samples, "extauthz_store_available"),
        tokens=_tokens(between, now.samples),
        generation=int(now.samples.get(("extauthz_policy_generation", ()), 0)),
        workers=between.counts("worker", "extauthz_worker_check_total", every=True),
        denials=tuple(activity.get("denials", ()))[:_MANY],
        told=bool(activity),
    )


class _Between:
    """Differences of counters. One that went back began anew, and is counted from zero, as Prometheus does."""

    def __init__(self, before: Seen, now: Seen) -> None:
        self._before, self._now = before.samples, now.samples
        self.seconds = max(now.at - before.at, 1e-9)

    def _growth(self, key: tuple[str, tuple[tuple[str, str], ...]]) -> float:
        value, last = self._now[key], self._before.get(key, 0.0)
        return value - last if value >= last else value

    def grown(self, name: str) -> float:
        """How much a counter grew, all its series together."""
        return sum(self._growth(key) for key in self._now if key[0] == name)

    def by(self, label: str, name: str) -> dict[str, float]:
        """How much it grew a second, by a label."""
        found: dict[str, float] = {}
        for key in self._now:
            if key[0] == name:
                value = dict(key[1]).get(label, "")
                found[value] = found.get(value, 0.0) + self._growth(key) / self.seconds
        return found

    def counts(
        self,
        label: str,
        name: str,
        where: Mapping[str, str] | None = None,
        *,
        but: Mapping[str, str] | None = None,
        every: bool = False,
    ) -> tuple[Count, ...]:
        """The same with its totals, the busiest first; only those that ever counted, unless ``every`` one is wanted.

        Of the series whose labels are as ``where`` says, and not as ``but`` does.
        """
        rates: dict[str, float] = {}
        totals: dict[str, float] = {}
        for key, value in self._now.items():
            labels = dict(key[1])
            if key[0] != name or any(labels.get(one) != wanted for one, wanted in (where or {}).items()):
                continue
            if any(labels.get(one) == unwanted for one, unwanted in (but or {}).items()):
                continue
            told = labels.get(label, "")
            totals[told] = totals.get(told, 0.0) + value
            rates[told] = rates.get(told, 0.0) + self._growth(key) / self.seconds
        made = [Count(told, rates[told], total) for told, total in totals.items() if total or every]
        return tuple(made if every else sorted(made, key=lambda count: (-count.per_second, -count.total))[:_MANY])

    def rules(self, before: str, now: Mapping[str, Any]) -> tuple[Count, ...]:
        """The busiest rules."""
        last = {
            (entry["policy"], entry["rule"]): entry["checks"]
            for entry in (json.loads(before)["rules"] if before else ())
        }
        made = []
        for entry in now.get("rules", ()):
            count, earlier = entry["checks"], last.get((entry["policy"], entry["rule"]), 0)
            grown = count - earlier if count >= earlier else count
            name = f"{entry['policy']} {entry['rule']}".rstrip()
            made.append(Count(name, grown / self.seconds, count))
        return tuple(sorted(made, key=lambda count: (-count.per_second, -count.total))[:_MANY])

    def quantile(self, share: float) -> float | None:
        """The duration within which a share of the Checks was answered: the bound of its bucket."""
        grown: dict[float, float] = {}
        for key in self._now:
            if key[0] == _DURATION:
                bound = float(dict(key[1])["le"])
                grown[bound] = grown.get(bound, 0.0) + self._growth(key)
        whole = grown.get(float("inf"), 0.0)
        if not whole:
            return None
        lower = 0.0
        for bound, reached in sorted(grown.items()):
            if reached >= share * whole:
                return bound if bound != float("inf") else lower
            lower = bound
        return lower


def _phases(before: str, now: Mapping[str, Any]) -> tuple[Phase, ...]:
    told = now.get("phases", {"checks": 0, "seconds": {}})
    last = json.loads(before).get("phases") if before else None
    if last is None or last["checks"] > told["checks"]:
        last = {"checks": 0, "seconds": {}}
    checks = told["checks"] - last["checks"]
    spent = {name: seconds - last["seconds"].get(name, 0.0) for name, seconds in told["seconds"].items()}
    whole = sum(spent.values())
    if checks <= 0 or whole <= 0:
        return ()
    made = [Phase(name, seconds / checks, seconds / whole) for name, seconds in spent.items()]
    return tuple(sorted(made, key=lambda phase: -phase.seconds))


def _providers(samples: Samples) -> tuple[Provider, ...]:
    found = []
    for (name, labels), value in sorted(samples.items()):
        if name == "extauthz_provider_usable":
            age = samples.get(("extauthz_jwks_age_seconds", labels))
            found.append(Provider(dict(labels)["provider"], value > 0, age))
    return tuple(found)


def _tokens(between: _Between, samples: Samples) -> Tokens | None:
    signs = _flag(samples, "extauthz_signing_usable")
    if signs is None:
        return None
    signatures = between.grown("extauthz_signature_duration_seconds_count")
    spent = between.grown("extauthz_signature_duration_seconds_sum")
    unrecorded = samples.get(("extauthz_audit_total", (("outcome", "failed"),)), 0.0)
    reused = "extauthz_refresh_tokens_reused_total"
    return Tokens(
        issued=between.counts("grant", "extauthz_tokens_total", {"outcome": "issued"}),
        refused=between.counts("outcome", "extauthz_tokens_total", but={"outcome": "issued"}),
        reused=Count("", between.grown(reused) / between.seconds, samples.get((reused, ()), 0.0)),
        revocations=sum(value for (name, _), value in samples.items() if name == "extauthz_revocations"),
        revocations_age=samples.get(("extauthz_revocations_age_seconds", ())),
        signs=signs,
        keys={
            dict(labels)["slot"]: age
            for (name, labels), age in samples.items()
            if name == "extauthz_signing_key_age_seconds"
        },
        signature=spent / signatures if signatures else None,
        store=bool(_flag(samples, "extauthz_token_store_usable")),
        vault=_flag(samples, "extauthz_vault_available"),
        vault_token=samples.get(("extauthz_vault_token_ttl_seconds", ())),
        unrecorded=unrecorded,
    )


def _flag(samples: Samples, name: str) -> bool | None:
    value = samples.get((name, ()))
    return None if value is None else value > 0
