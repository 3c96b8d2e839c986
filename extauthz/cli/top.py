"""``extauthz top``: a running server at a glance, on a terminal."""

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import harmless
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError, UpstreamError

if TYPE_CHECKING:
    from extauthz.serving import Address
    from extauthz.workbench.top import View

__all__ = ["top"]

_LEAST = 0.2


def top(
    *,
    admin: Annotated[
        str | None,
        Parameter(help="The admin listener, host:port or unix:/path; without it listen.admin of the configuration."),
    ] = None,
    interval: Annotated[float, Parameter(help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, Parameter(negative="", help="Look for one interval, print that, and end.")] = False,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Show what a running server does: decisions, reasons, the busiest rules, providers, rates, the last denials.

    Ends with Ctrl-C. Without a terminal, or with --output json, it looks once. Exit code 1 if the server is not ready.
    """
    from extauthz.app.looking import look
    from extauthz.workbench.top import screen, view

    if not _LEAST <= interval < float("inf"):
        raise ExtAuthzError(f"--interval: a number from {_LEAST} on")
    where = _admin(admin, config)
    seen = look(where)
    if once or output == "json" or not sys.stdout.isatty():
        time.sleep(interval)
        found = view(seen, look(where))
        if output == "json":
            print(json.dumps(found.as_json(), indent=2))
        else:
            _print(found, str(where))
        return 0 if found.ready else 1
    from rich.live import Live
    from rich.text import Text

    with Live(Text("looking ..."), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                now = look(where)
            except UpstreamError as error:
                # It may come back: a restart is what one wants to watch.
                live.update(Text(harmless(str(error)), style="bold red"), refresh=True)
                continue
            live.update(screen(view(seen, now), str(where), harmless), refresh=True)
            seen = now


def _admin(written: str | None, config: str | None) -> "Address":
    from extauthz.config import load_config
    from extauthz.serving import parse_address

    if written is not None:
        return parse_address(written)
    listener = load_config(config, os.environ).listen.admin
    if listener.tls is not None:
        raise ExtAuthzError("listen.admin has TLS, which is not read here: name a plaintext --admin")
    return parse_address(listener.address)


def _print(found: "View", title: str) -> None:
    from rich.console import Console

    from extauthz.workbench.top import screen

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else 120, highlight=False, markup=False, emoji=False)
    console.print(screen(found, title, harmless))
