"""What the Grafana dashboard shows: its rows of panels, each with what it asks Prometheus.

Every expression is asked of a real Prometheus that scraped a real run (``tests/mesh/test_observability.py``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["PANELS", "Panel", "expressions"]

_HERE = 'job="$job",instance=~"$instance"'


@dataclass(frozen=True)
class Panel:
    """One panel: its queries, each with the name of its lines."""

    title: str
    text: str
    """What it tells, and what to do about it."""
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    stacked: bool = False
    width: int = 8
    exemplars: bool = False
    sometimes: bool = False
    """There may be nothing to show: no store, no rate, no shadow, no worker, no Vault."""


def _rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({metric}{{{_HERE}{where}}}[$__rate_interval]))"


def _mean(metric: str, by: str = "") -> str:
    """What one of them took, in seconds; nothing while there was none."""
    return f"{_rate(f'{metric}_sum', by)} / ({_rate(f'{metric}_count', by)} > 0)"


def _quantile(share: float) -> str:
    return f"histogram_quantile({share}, {_rate('extauthz_check_duration_seconds_bucket', 'le')})"


_ANSWERED = f"histogram_quantile(0.99, {_rate('extauthz_http_request_duration_seconds_bucket', 'endpoint, le')}) >= 0"
_TTL = f"extauthz_vault_token_ttl_seconds{{{_HERE}}}"
_ALL = _rate("extauthz_check_total")
_DENIED = _rate("extauthz_check_total", where=',result="deny"')
_CPU = _rate("process_cpu_seconds_total")
_SEEN = _rate("extauthz_identity_cache_total")
_HITS = _rate("extauthz_identity_cache_total", where=',outcome="hit"')
PANELS: Sequence[tuple[str, tuple[Panel, ...]]] = (
    (
        "Decisions",
        (
            Panel("Checks a second", "All that is asked.", ((_ALL, ""),), "reqps", "stat", width=6),
            Panel(
                "Denied",
                "The share of Checks that are answered with a denial.",
                ((f"{_DENIED} / {_ALL}", ""),),
                "percentunit",
                "stat",
                width=6,
            ),
            Panel("99 of 100 within", "Of all Checks.", ((_quantile(0.99), ""),), "s", "stat", width=6),
            Panel(
                "Processes",
                "That Prometheus reaches.",
                (('sum(up{job="$job",instance=~"$instance"})', ""),),
                kind="stat",
                width=6,
            ),
            Panel(
                "Allowed and denied",
                "Checks a second by result.",
                ((_rate("extauthz_check_total", "result"), "{{result}}"),),
                "reqps",
                stacked=True,
            ),
            Panel(
                "Why denied",
                "Denials a second by reason; docs/reasons.md says what to do about each.",
                ((_rate("extauthz_check_total", "reason", ',result="deny"') + " > 0", "{{reason}}"),),
                "reqps",
                stacked=True,
                sometimes=True,
            ),
            Panel(
                "Duration",
                "From a Check's arrival to its answer. With one worker, points link to traces.",
                tuple((_quantile(share), f"{share * 100:g} %") for share in (0.5, 0.9, 0.99)),
                "s",
                exemplars=True,
            ),
        ),
    ),
    (
        "Process",
        (
            Panel(
                "CPU of a Check",
                "What one Check costs, in seconds of CPU. It rises with tokens never seen, CEL and exact shared rates.",
                ((f"{_CPU} / {_ALL}", ""),),
                "s",
            ),
            Panel(
                "Memory",
                "Resident, of each process.",
                ((f"process_resident_memory_bytes{{{_HERE}}}", "{{instance}}"),),
                "bytes",
            ),
            Panel("In flight", "Checks that are being decided.", ((f"extauthz_inflight{{{_HERE}}}", "{{instance}}"),)),
            Panel(
                "Share of each worker",
                "Checks a second; uneven if the proxy does not know all of them (docs/workers.md).",
                ((_rate("extauthz_worker_check_total", "instance, worker"), "{{instance}} {{worker}}"),),
                "reqps",
                stacked=True,
                sometimes=True,
            ),
            Panel(
                "Records lost or late",
                "Decisions that are in no log, because its sink was full or slow, and Checks that waited for room in it.",
                (
                    (_rate("extauthz_decision_log_dropped_total", "instance"), "{{instance}} lost"),
                    (_rate("extauthz_decision_log_waits_total", "instance"), "{{instance}} waited"),
                ),
            ),
            Panel(
                "Spans lost",
                "The collector refuses them, or takes them more slowly than they come.",
                ((_rate("extauthz_spans_dropped_total", "instance"), "{{instance}}"),),
                sometimes=True,
            ),
            Panel(
                "Certificates",
                "Time until those of listeners expire.",
                ((f"extauthz_certificate_expires_timestamp_seconds{{{_HERE}}} - time()", "{{instance}} {{listener}}"),),
                "s",
                sometimes=True,
            ),
        ),
    ),
    (
        "Who is asking",
        (
            Panel(
                "Providers",
                "1: it can vouch for callers.",
                ((f"min by (provider) (extauthz_provider_usable{{{_HERE}}})", "{{provider}}"),),
            ),
            Panel(
                "Age of keys",
                "Since they were last fetched.",
                ((f"max by (provider) (extauthz_jwks_age_seconds{{{_HERE}}})", "{{provider}}"),),
                "s",
                sometimes=True,
            ),
            Panel(
                "Tokens seen before",
                "The share that is not verified again. If it is low, look at tokenCache and at how clients renew.",
                ((f"{_HITS} / ({_SEEN} > 0)", ""),),
                "percentunit",
                sometimes=True,
            ),
        ),
    ),
    (
        "What they may do, and how often",
        (
            Panel(
                "Policies",
                "The generation in force; a step is a reload.",
                ((f"extauthz_policy_generation{{{_HERE}}}", "{{instance}}"),),
            ),
            Panel(
                "In shadow mode",
                "What would be denied if it were in force.",
                ((_rate("extauthz_shadow_total", "policy", ',would="deny"'), "{{policy}}"),),
                "reqps",
                sometimes=True,
            ),
            Panel(
                "Rates",
                "Requests of rules with a rate, by what became of them.",
                ((_rate("extauthz_limit_total", "outcome"), "{{outcome}}"),),
                "reqps",
                stacked=True,
                sometimes=True,
            ),
            Panel(
                "Rates used up",
                "Refused, by rule.",
                (
                    (
                        _rate("extauthz_limit_total", "policy, rule", ',outcome="limited"') + " > 0",
                        "{{policy}} {{rule}}",
                    ),
                ),
                "reqps",
                sometimes=True,
            ),
            Panel(
                "Callers counted",
                "In memory.",
                ((f"extauthz_limiter_keys{{{_HERE}}}", "{{instance}}"),),
            ),
            Panel(
                "Store",
                "1: it is asked. Below, charges that it did not answer in time.",
                (
                    (f"extauthz_store_available{{{_HERE}}}", "{{instance}} available"),
                    (_rate("extauthz_store_failed_total", "instance"), "{{instance}} failed a second"),
                ),
                sometimes=True,
            ),
        ),
    ),
    (
        "Token service",
        (
            Panel(
                "Tokens issued",
                "A second, by grant; renew is POST /refresh.",
                ((_rate("extauthz_tokens_total", "grant", ',outcome="issued"') + " > 0", "{{grant}}"),),
                "reqps",
                stacked=True,
            ),
            Panel(
                "Tokens refused",
                "A second, by the code of the error. invalid_client: somebody has an old secret, or guesses. "
                "temporarily_unavailable: /readyz?verbose says what is missing.",
                ((_rate("extauthz_tokens_total", "outcome", ',outcome!="issued"') + " > 0", "{{outcome}}"),),
                "reqps",
                stacked=True,
            ),
            Panel(
                "Duration of requests",
                "99 of 100 are answered within, by endpoint. With one worker, points link to traces.",
                ((_ANSWERED, "{{endpoint}}"),),
                "s",
                exemplars=True,
            ),
            Panel(
                "What a token waits for",
                "A signature, and a call of the store, on average. Keys in Transit are asked over the network.",
                (
                    (_mean("extauthz_signature_duration_seconds"), "signature"),
                    (_mean("extauthz_token_store_duration_seconds", "operation"), "store {{operation}}"),
                ),
                "s",
            ),
            Panel(
                "Age of signing keys",
                "Of the newest key in each slot, and how long it is until the next one is made: below zero it is overdue.",
                (
                    (f"max by (slot) (extauthz_signing_key_age_seconds{{{_HERE}}})", "{{slot}}"),
                    (f"min(extauthz_signing_rotation_due_timestamp_seconds{{{_HERE}}}) - time()", "next one in"),
                ),
                "s",
            ),
            Panel(
                "Signing fails",
                "Tokens that could not be signed, and looks at the keys that failed, a second.",
                (
                    (_rate("extauthz_signatures_failed_total", "instance"), "{{instance}} signatures"),
                    (_rate("extauthz_signing_keys_failed_total", "instance"), "{{instance}} looks"),
                ),
            ),
            Panel(
                "Revocations",
                "In force, by what they name.",
                ((f"max by (kind) (extauthz_revocations{{{_HERE}}})", "{{kind}}"),),
            ),
            Panel(
                "Revocations are as old as",
                "Above a second the store can't be read; after tokens.revocationsMaxAge own tokens are refused.",
                ((f"max by (instance) (extauthz_revocations_age_seconds{{{_HERE}}})", "{{instance}}"),),
                "s",
            ),
            Panel(
                "Refused, and used twice",
                "Tokens that were shown after they were revoked, and refresh tokens that two have used, a second.",
                (
                    (_rate("extauthz_revocations_refused_total"), "revoked"),
                    (_rate("extauthz_refresh_tokens_reused_total"), "used twice"),
                ),
                "reqps",
            ),
            Panel(
                "Token store",
                "1: it can be used. Below, calls without an answer a second.",
                (
                    (f"min by (instance) (extauthz_token_store_usable{{{_HERE}}})", "{{instance}} usable"),
                    (_rate("extauthz_token_store_failed_total", "instance"), "{{instance}} failed a second"),
                ),
            ),
            Panel(
                "Vault",
                "The life that our token has left; 0 while Vault is sealed or away (docs/vault.md).",
                (
                    (
                        f"min by (instance) ({_TTL} * on (job, instance) extauthz_vault_available{{{_HERE}}})",
                        "{{instance}}",
                    ),
                ),
                "s",
                sometimes=True,
            ),
            Panel(
                "Audit log",
                "Events a second. What could not be written is handed out only with whenItFails: goOn.",
                ((_rate("extauthz_audit_total", "outcome"), "{{outcome}}"),),
                "reqps",
            ),
            Panel(
                "Http listener",
                "Its connections, requests that are being answered, and silent connections closed to make room.",
                (
                    (f"sum(extauthz_http_connections{{{_HERE}}})", "connections"),
                    (f"sum(extauthz_http_inflight{{{_HERE}}})", "in flight"),
                    (_rate("extauthz_http_connections_cut_total"), "cut a second"),
                ),
            ),
        ),
    ),
)


def expressions() -> Iterator[tuple[Panel, str]]:
    """Every query, with its panel."""
    for _, panels in PANELS:
        for panel in panels:
            for expression, _ in panel.queries:
                yield panel, expression
