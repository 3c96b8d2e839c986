"""``python -m mesh pictures``: a mesh under load, and what ``extauthz top`` and the dashboard show of it, kept in docs/.

Model: the local mesh, callers of several kinds for a minute and a half, and a Prometheus that scrapes it. What is seen is
real; only which callers there are is made up. Needs Debian's ``prometheus``; without it the screen of ``top`` is made alone.

Trade-off: figures differ from run to run, so a test can't hold the files equal to anything. It holds what does not differ:
the headings of the screen and the panels of the dashboard.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import re
import shutil
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any as Json

from rich._export_format import CONSOLE_SVG_FORMAT  # its fonts are replaced below
from rich.console import Console, RenderableType

from mesh.address import free_address
from mesh.desk import Refused
from mesh.local import LocalMesh
from mesh.observability.drawing import Line, drawing
from mesh.observability.panels import PANELS
from mesh.processes import Process, answers
from mesh.proxy import PROJECT

__all__ = ["PICTURES", "lines_of", "screen_picture", "write"]

PICTURES = PROJECT / "docs" / "pictures"
_SECONDS = 90.0
_STEP = 2
_WIDTH = 136
_PROMETHEUS = """
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: extauthz
  static_configs: [{{targets: ["{admin}"]}}]
"""


def write() -> int:
    """Makes both pictures; returns the exit code."""
    PICTURES.mkdir(exist_ok=True)
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extauthz-pictures-")))
        mesh = stack.enter_context(LocalMesh(state, own_collector=True))
        prometheus = stack.enter_context(_prometheus(state, mesh.addresses["admin"]))
        stack.enter_context(_callers(mesh))
        began = time.time()
        (PICTURES / "top.svg").write_text(screen_picture(_screen(mesh, 10.0)))
        print("written: docs/pictures/top.svg")
        if prometheus is None:
            print("the dashboard was not drawn: prometheus is not installed")
            return 1
        time.sleep(max(_SECONDS - (time.time() - began), 0))
        (PICTURES / "dashboard.svg").write_text(drawing(lines_of(prometheus, began + 5, time.time())))
        print("written: docs/pictures/dashboard.svg")
    return 0


def screen_picture(screen: RenderableType) -> str:
    """A screen as SVG, in the reader's own fonts: nothing is loaded from elsewhere."""
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, markup=False, highlight=False)
    console.print(screen)
    bare = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title="extauthz top", code_format=bare, unique_id="top")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def lines_of(prometheus: str, begin: float, end: float, job: str = "extauthz") -> Mapping[str, Sequence[Line]]:
    """What each panel of the dashboard shows of a time, by its title."""
    return {
        panel.title: [
            line
            for expression, legend in panel.queries
            for line in _range(prometheus, _filled(expression, job), legend or panel.title, (begin, end))
        ]
        for _, panels in PANELS
        for panel in panels
    }


def _filled(expression: str, job: str) -> str:
    return expression.replace("$job", job).replace("$instance", ".*").replace("$__rate_interval", "10s")


def _range(prometheus: str, expression: str, legend: str, between: tuple[float, float]) -> Iterator[Line]:
    asked = {"query": expression, "start": between[0], "end": between[1], "step": _STEP}
    url = f"http://{prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: Json = json.load(answer)["data"]["result"]
    for one in found:
        labels: Mapping[str, str] = one["metric"]
        name = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)  # noqa: B023 - used at once
        points = ((float(at), float(value)) for at, value in one["values"])
        yield Line(name, tuple((at, value) for at, value in points if value == value))  # noqa: PLR0124 - no NaN


def _screen(mesh: LocalMesh, seconds: float) -> RenderableType:
    """What ``extauthz top`` shows of some seconds."""
    from extauthz.app.looking import look
    from extauthz.cli.terminal import harmless
    from extauthz.serving import parse_address
    from extauthz.workbench.top import screen, view

    admin = parse_address(mesh.addresses["admin"])
    look(admin)  # from here on Checks are timed
    time.sleep(1)
    before = look(admin)
    time.sleep(seconds)
    return screen(view(before, look(admin)), "127.0.0.1:8081", harmless)


@contextmanager
def _prometheus(state: Path, admin: str) -> Iterator[str | None]:
    """A Prometheus that scrapes an admin listener, if there is one on this machine; gives its address."""
    if shutil.which("prometheus") is None:
        yield None
        return
    where = free_address()
    (state / "prometheus.yml").write_text(_PROMETHEUS.format(admin=admin))
    command = [
        "prometheus",
        f"--config.file={state}/prometheus.yml",
        f"--storage.tsdb.path={state}/data",
        f"--web.listen-address={where}",
        "--log.level=error",
    ]
    with Process("prometheus", command, log=state / "prometheus.log", ready=[answers(f"http://{where}/-/ready")]):
        yield where


@contextmanager
def _callers(mesh: LocalMesh) -> Iterator[None]:
    """Users, admins, partners, and people who may not, until left; each asks some dozens of times a second. Beside them
    clients of the token service, who ask it for a few tokens a second.
    """
    over = threading.Event()
    requests = _requests(mesh)

    def ask(number: int) -> None:
        host, _, port = mesh.envoy.options.listen.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        turn = number
        while not over.wait(0.02):
            method, path, headers = requests[turn % len(requests)]
            turn += 1
            connection.request(method, path, headers=headers)
            connection.getresponse().read()
        connection.close()

    def ask_for_tokens() -> None:
        turns = itertools.cycle(_token_requests(mesh))
        while not over.wait(0.3):
            with suppress(Refused):
                next(turns)()

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(4)]
    threads.append(threading.Thread(target=ask_for_tokens, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _token_requests(mesh: LocalMesh) -> list[Callable[[], object]]:
    """What is asked of the token service: own tokens, exchanged and renewed ones, one that is refused, one that is ended."""
    desk = mesh.desk
    return [
        lambda: desk.own("shop"),
        lambda: desk.refresh("shop", desk.own("shop").refresh_token),
        lambda: desk.exchange("gateway", mesh.issuer.mint("alice")),
        lambda: desk.own("backoffice"),
        lambda: desk.renew(desk.own("shop").access_token),
        lambda: desk.refresh("shop", "guessed"),
        lambda: desk.revoke("shop", desk.own("shop").access_token),
    ]


def _requests(mesh: LocalMesh) -> list[tuple[str, str, dict[str, str]]]:
    """What is asked, the usual more often than the unusual."""

    def bearer(token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"}

    users = [bearer(mesh.issuer.mint(f"user-{number}")) for number in range(8)]
    admin = bearer(mesh.issuer.mint("root", ["admin"]))
    partner = bearer(mesh.issuer.mint_partner()) | {"host": "partner.example.com"}
    usual = [("GET", f"/orders/{number}", user) for number, user in enumerate(users) for _ in range(3)]
    return [
        *usual,
        ("GET", "/public/news", {}),
        ("GET", "/catalog/7", partner),
        ("DELETE", "/orders/42", admin),
        ("DELETE", "/orders/42", users[0]),
        ("GET", "/orders/42", {}),
        ("GET", "/orders/42", bearer(mesh.issuer.mint(exp=1_000_000_000))),
        ("GET", "/internal/metrics", users[1]),
        ("GET", "/reports/7", users[2]),
    ]
