"""``extauthz bench``: how fast a server answers, and what that costs it."""

import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from extauthz.cli.asked import AskedCheck, AskedHeaders, AskedWords, request_of
from extauthz.cli.serve import ConfigFile
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError

if TYPE_CHECKING:
    from extauthz.app.benching import Benched

__all__ = ["bench"]


def bench(
    *request: AskedWords,
    header: AskedHeaders = None,
    curl: Annotated[str | None, Parameter(help="The request as a curl command line.")] = None,
    check: AskedCheck = None,
    address: Annotated[
        str | None,
        Parameter(
            help="The server, host:port or unix:/path, in plaintext; without it listen.check of the configuration."
        ),
    ] = None,
    remote: Annotated[
        bool, Parameter(negative="", help="The server may be on another machine, which is meant to get this load.")
    ] = False,
    requests: Annotated[int, Parameter(help="Checks to send in a run.")] = 20_000,
    connections: Annotated[int, Parameter(help="Connections, as many as proxies have.")] = 4,
    at_a_time: Annotated[int, Parameter(help="Checks at a time on each.")] = 16,
    rate: Annotated[
        float | None, Parameter(help="Checks a second, sent by the clock; without it as many as are answered.")
    ] = None,
    pid: Annotated[int | None, Parameter(help="The server's process, whose CPU is to be told (Linux).")] = None,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Ask a running server the same Check over and over, and tell how often and how fast it answers.

    First as fast as it answers, then half as often by the clock, which shows the latency of a server that has time. Needs
    h2load (Debian: nghttp2-client). A denial is an answer like another one: which one it is stands in the first line.
    Exit code 1 if Checks were left without answer.
    """
    from extauthz.app.benching import bench as measured
    from extauthz.workbench.explain import Connection
    from extauthz.workbench.load import Load

    ways = [way for way in (request, curl, check) if way]
    if len(ways) != 1:
        raise ExtAuthzError("say which request, in one way: METHOD URL, or --curl 'curl ...', or --check FILE")
    for name, number in (("requests", requests), ("connections", connections), ("at-a-time", at_a_time)):
        if number < 1:
            raise ExtAuthzError(f"--{name}: a number from 1 on")
    if rate is not None and not 0 < rate < float("inf"):
        raise ExtAuthzError("--rate: a number above 0")
    target = _target(address or _configured(config), remote=remote)
    sent = request_of(Connection("192.0.2.1", "", {}, ""), request, header or (), curl, check)
    load = Load(requests, connections, at_a_time, rate or 0)
    found = measured(target, sent, load, pid=pid, progress=_progress)
    _progress("")
    if output == "json":
        print(json.dumps({"address": target, **found.as_json()}, indent=2))
    else:
        for line in _lines(found):
            print(line)
    return 1 if any(run.measure.failed for run in found.runs) else 0


def _configured(file: str | None) -> str:
    from extauthz.config import load_config

    listener = load_config(file, os.environ).listen.check
    if listener.tls is not None:
        raise ExtAuthzError(
            "listen.check has TLS, which h2load can't speak with a certificate: name a plaintext --address"
        )
    return listener.address


def _target(address: str, *, remote: bool) -> str:
    """The address, if it may be put under load: of this machine, unless another one is meant."""
    if remote:
        return address
    from extauthz.serving import TcpAddress, parse_address

    parsed = parse_address(address)
    if isinstance(parsed, TcpAddress) and not parsed.host.is_loopback:
        raise ExtAuthzError(f"{address} is not of this machine: say --remote if it is meant to get this load")
    return str(parsed)


def _progress(doing: str) -> None:
    """Say on a terminal what is going on."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{doing:<40}" if doing else f"\r{'':<40}\r")
        sys.stderr.flush()


def _lines(found: "Benched") -> Iterator[str]:
    """The table for people."""
    answer = found.answer
    yield (
        "the answer is to allow it" if answer.allowed else f"the answer is to deny it ({answer.status or 'by status'})"
    )
    yield f"{'':<32}{'1/s':>9}{'CPU us':>8}{'p50':>8}{'p99':>8}{'p99.9':>8} ms"
    for run in found.runs:
        seen, cpu = run.measure, "" if run.cpu is None else f"{run.cpu:.1f}"
        yield (
            f"{run.name:<32}{seen.per_second:>9,.0f}{cpu:>8}{seen.p50:>8.2f}{seen.p99:>8.2f}{seen.p999:>8.2f}"
            + (f"   {seen.failed:,} without answer" if seen.failed else "")
        )
