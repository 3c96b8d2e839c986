"""The Grafana dashboard as code: ``python -m mesh render`` writes it to ``dashboard.json``, and a test holds the two equal.

Every expression is asked of a real Prometheus that scraped a real run (``tests/mesh/test_observability.py``).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

__all__ = ["PANELS", "Panel", "dashboard", "expressions"]

_WIDTH = 24
_HERE = 'job="$job",instance=~"$instance"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


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
    """There may be nothing to show: no store, no rate, no shadow, no worker."""


def _rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({metric}{{{_HERE}{where}}}[$__rate_interval]))"


def _quantile(share: float) -> str:
    return f"histogram_quantile({share}, {_rate('extauthz_check_duration_seconds_bucket', 'le')})"


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
)


def expressions() -> Iterator[tuple[Panel, str]]:
    """Every query, with its panel."""
    for _, panels in PANELS:
        for panel in panels:
            for expression, _ in panel.queries:
                yield panel, expression


def dashboard() -> str:
    """The dashboard in Grafana's JSON."""
    ids = count(1)
    made: list[dict[str, Any]] = []
    top = 0
    for title, panels in PANELS:
        made.append(
            {
                "id": next(ids),
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": top},
                "panels": [],
            }
        )
        top += 1
        left = height = 0
        for panel in panels:
            tall = 4 if panel.kind == "stat" else 8
            if left + panel.width > _WIDTH:
                top, left = top + height, 0
            height = tall
            made.append(_panel(panel, next(ids), {"h": tall, "w": panel.width, "x": left, "y": top}))
            left += panel.width
            if left == _WIDTH:
                top, left = top + height, 0
        top += height if left else 0
    whole = {
        "title": "extauthz",
        "uid": "extauthz",
        "tags": ["extauthz", "envoy", "authorization"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "editable": True,
        "templating": {"list": [_source(), _variable("job", "extauthz_check_total"), _instances()]},
        "panels": made,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 5, "showPoints": "never"}
        if panel.stacked:
            custom["stacking"] = {"mode": "normal", "group": "A"}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend or panel.title,
                "exemplar": panel.exemplars,
            }
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(label: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {label})"
    return {"name": label, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2, "sort": 1}


def _instances() -> dict[str, Any]:
    made = _variable("instance", 'extauthz_check_total{job="$job"}')
    return made | {"includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
