"""The pictures in docs/ are of what there is now: what differs from run to run is left aside."""

import io
import re
from html import unescape
from typing import Any

from extauthz.workbench.top import Seen, screen, view
from mesh.observability.drawing import Line, drawing, titles
from mesh.observability.panels import PANELS
from mesh.observability.pictures import PICTURES, screen_picture

HEADINGS = ("why denied", "busiest rules", "where the time goes", "rates", "providers", "last denials")


def words(svg: str) -> str:
    """What a picture says."""
    return unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))).replace("\xa0", " ")


def test_the_kept_dashboard_has_the_panels_of_the_dashboard() -> None:
    """In their order: one that was added since would be missing (`python -m mesh pictures`)."""
    kept = (PICTURES / "dashboard.svg").read_text()
    assert [unescape(title) for title in titles(kept)] == [panel.title for _, panels in PANELS for panel in panels]
    empty = kept.count("nothing to show in this run")
    assert empty == len([panel for _, panels in PANELS for panel in panels if panel.title in _NOT_IN_THE_MESH])


_NOT_IN_THE_MESH = ("Share of each worker", "Certificates", "In shadow mode", "Store", "Vault")


def test_the_kept_screen_has_the_headings_of_the_screen() -> None:
    """And neither loads anything from elsewhere, nor tells a machine's own names."""
    for name in ("top.svg", "dashboard.svg"):
        kept = (PICTURES / name).read_text()
        assert set(re.findall(r"https?://[^\s\"')]+", kept)) <= {
            "http://www.w3.org/2000/svg",
            "https://www.textualize.io",
        }
        assert "font-face" not in kept
    told = words((PICTURES / "top.svg").read_text())
    for heading in HEADINGS:
        assert heading in told
    assert set(HEADINGS) == {heading for heading in HEADINGS if heading in words(_drawn())}


def _drawn() -> str:
    """A screen with everything on it, as it is now."""
    samples: Any = {
        ("extauthz_check_total", (("reason", "no-rule"), ("result", "deny"))): 3.0,
        ("extauthz_limit_total", (("outcome", "granted"),)): 1.0,
        ("extauthz_provider_usable", (("provider", "dev"),)): 1.0,
    }
    told = (
        '{"rules": [{"policy": "p", "rule": "r", "checks": 1}], "denials": [],'
        ' "phases": {"checks": 1, "seconds": {"request": 0.1}}}'
    )
    made = screen(view(Seen(0, {}, (), ""), Seen(1, samples, ("ready",), told)), "x", str)
    return screen_picture(made)


def test_lines_are_drawn_in_their_units() -> None:
    """A stacked line stands on the one below it; text is escaped; a panel without lines says so."""
    panel = next(panel for _, panels in PANELS for panel in panels if panel.stacked)
    lines = [Line("<allow>", ((0.0, 1.0), (10.0, 3.0))), Line("deny", ((0.0, 1.0), (10.0, 1.0)))]
    svg = drawing({panel.title: lines, "Duration": [Line("99 %", ((0.0, 0.002),))]})
    assert "&lt;allow&gt;" in svg
    assert "4 req/s" in svg
    assert "2 ms" in svg
    assert "nothing to show in this run" in svg
    assert io.StringIO(svg).readline().startswith("<svg ")
