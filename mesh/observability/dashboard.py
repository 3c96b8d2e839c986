"""The Grafana dashboard as code: ``python -m mesh render`` writes it to ``dashboard.json``, and a test holds the two equal."""

import json
from itertools import count
from typing import Any

from mesh.observability.panels import PANELS, Panel

__all__ = ["dashboard"]

_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


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
