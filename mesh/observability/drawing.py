"""The dashboard as one SVG, drawn from what a Prometheus answered: for where no Grafana can be run, and for the docs.

Model: the panels of ``dashboard.py``, in its order and widths, each with the lines of its queries. It is a witness that the
queries show something and not a second Grafana: no zoom, no colours by meaning, a legend of few names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from mesh.observability.panels import PANELS, Panel

__all__ = ["Line", "drawing", "titles"]

_COLUMN: Final = 50
"""Pixels of one of the 24 columns."""
_GAP: Final = 8
_ROW: Final = 30
_TALL, _FLAT = 210, 90
_NAMES: Final = 4
_COLOURS: Final = ("#2f6fb3", "#d9822b", "#3a9a5b", "#b0413e", "#7a5ab5", "#8a6d3b", "#c2569b", "#5f6b73")
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold}.row{font:bold 15px sans-serif}"
    ".dim{fill:#6b7280;font-size:11px}.figure{font:bold 26px sans-serif}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel."""

    name: str
    points: tuple[tuple[float, float], ...]
    """Seconds since the epoch, and the value."""


def drawing(lines: Mapping[str, Sequence[Line]]) -> str:
    """The dashboard; ``lines`` are those of each panel, by its title."""
    made: list[str] = []
    top = _GAP
    for title, panels in PANELS:
        made.append(f'<text class="row" x="{_GAP}" y="{top + 20}">{escape(title)}</text>')
        top += _ROW
        left = height = 0
        for panel in panels:
            if left + panel.width > 24:  # noqa: PLR2004 - Grafana's columns
                top, left = top + height, 0
            height = _FLAT if panel.kind == "stat" else _TALL
            place = left * _COLUMN + _GAP, top, panel.width * _COLUMN - _GAP, height - _GAP
            made += _panel(panel, lines.get(panel.title, ()), place)
            left += panel.width
        top += height
    width = 24 * _COLUMN + _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}">'
    paper = f'<rect width="{width}" height="{top}" fill="#f6f7f9"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", paper, *made, "</svg>", ""])


def titles(svg: str) -> list[str]:
    """The titles of the panels in a drawing, for a test that holds a kept one to the dashboard."""
    return [line.partition(">")[2].partition("<")[0] for line in svg.splitlines() if 'class="title"' in line]


def _panel(panel: Panel, lines: Sequence[Line], place: tuple[int, int, int, int]) -> Iterator[str]:
    x, y, width, height = place
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#fff" stroke="#d8dce2"/>'
    yield f'<text class="title" x="{x + 10}" y="{y + 20}">{escape(panel.title)}</text>'
    drawn = [line for line in lines if line.points]
    if not drawn:
        yield f'<text class="dim" x="{x + 10}" y="{y + 42}">nothing to show in this run</text>'
    elif panel.kind == "stat":
        yield f'<text class="figure" x="{x + 10}" y="{y + 60}">{_figure(drawn[0].points[-1][1], panel.unit)}</text>'
    else:
        yield from _chart(panel, drawn, (x + 10, y + 46, width - 20, height - 80))
        yield from _legend(drawn, x + 10, y + height - 10, width - 20)


def _chart(panel: Panel, lines: Sequence[Line], place: tuple[int, int, int, int]) -> Iterator[str]:
    x, y, width, height = place
    first = min(line.points[0][0] for line in lines)
    last = max(line.points[-1][0] for line in lines)
    stacked = _stacked(lines) if panel.stacked else [line.points for line in lines]
    most = max((value for points in stacked for _, value in points), default=0.0) or 1.0
    yield f'<line x1="{x}" y1="{y + height}" x2="{x + width}" y2="{y + height}" stroke="#d8dce2"/>'
    yield f'<line x1="{x}" y1="{y}" x2="{x + width}" y2="{y}" stroke="#eef0f3"/>'
    for colour, points in zip(_colours(), stacked, strict=False):
        where = " ".join(
            f"{x + (at - first) / max(last - first, 1.0) * width:.1f},{y + height - value / most * height:.1f}"
            for at, value in points
        )
        yield f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    yield f'<text class="dim" x="{x}" y="{y - 4}">{_figure(most, panel.unit)}</text>'


def _stacked(lines: Sequence[Line]) -> list[tuple[tuple[float, float], ...]]:
    """Each line on top of those before it."""
    below: dict[float, float] = {}
    made = []
    for line in lines:
        below = {at: below.get(at, 0.0) + value for at, value in line.points}
        made.append(tuple(below.items()))
    return made


def _legend(lines: Sequence[Line], x: int, y: int, width: int) -> Iterator[str]:
    shown = lines[:_NAMES]
    step = width // max(len(shown), 1)
    letters = max(step // 7 - 3, 4)
    for number, (colour, line) in enumerate(zip(_colours(), shown, strict=False)):
        name = line.name if len(line.name) <= letters else line.name[: letters - 1] + "\u2026"
        left = x + number * step
        yield f'<rect x="{left}" y="{y - 8}" width="10" height="3" fill="{colour}"/>'
        yield f'<text class="dim" x="{left + 14}" y="{y - 2}">{escape(name)}</text>'


def _colours() -> Iterator[str]:
    while True:
        yield from _COLOURS


def _figure(value: float, unit: str) -> str:
    """A number as somebody would read it out."""
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "s":
        for least, factor, name in ((86400, 1 / 86400, "d"), (1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "us")):
            if value >= least:
                return f"{value * factor:.3g} {name}"
    if unit == "bytes":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:,.3g}{' req/s' if unit == 'reqps' else ''}" if value < 1000 else f"{value:,.0f}"  # noqa: PLR2004
