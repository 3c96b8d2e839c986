"""``extauthz replay``: what other policies would have answered to the requests of a decision log."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import harmless
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError

if TYPE_CHECKING:
    from extauthz.config import Config
    from extauthz.model import Identity
    from extauthz.workbench.replay import Change, Comparison

__all__ = ["replay"]

_GROUPS = 20
"""Kinds of change of which a terminal shows the routes, for each heading."""
_ROUTES = 5
_MAX_EXAMPLES = 1000

FailOn = Literal["denied", "allowed", "any", "never"]


def replay(
    *paths: Annotated[
        str,
        Parameter(
            help="Decision logs (also .gz, or - for standard input), CheckRequests, or folders of those.",
            allow_leading_hyphen=True,  # for -
        ),
    ],
    policies: Annotated[
        list[str] | None,
        Parameter(help="The other policies: files or folders; without it those in force.", negative=""),
    ] = None,
    config: ConfigFile = None,
    fail_on: Annotated[
        FailOn,
        Parameter(help="Exit with 1 if something that was allowed would be denied, the other way, at any change."),
    ] = "denied",
    examples: Annotated[int, Parameter(help="Decision ids to show of each change on each route.")] = 3,
    role: Annotated[
        list[str] | None,
        Parameter(help="A role of the caller of CheckRequests, instead of their credentials.", negative=""),
    ] = None,
    subject: Annotated[str, Parameter(help="Who that caller is.")] = "",
    provider: Annotated[str, Parameter(help="Who vouches for that caller; needed if there are several.")] = "",
    output: OutputForm = "text",
) -> int:
    """Judge recorded requests once more by other policies, and tell what would change.

    A decision log has its answers. Records with a `capture` (telemetry.decisions.capture) are judged exactly, others by
    method, host, path, peer and roles, and counted as approximate where the policies ask for more. CheckRequests (*.binpb,
    *.json) are judged by the policies in force and by the others; their credentials by the configured providers.
    """
    from extauthz.app.replaying import replay as compare
    from extauthz.app.vault import Secrets

    if not paths:
        raise ExtAuthzError("name a decision log, for example: extauthz replay decisions.log --policies new/")
    options = [path for path in paths if path.startswith("-") and path != "-"]
    if options:
        raise ExtAuthzError(f"unknown option: {options[0]} (see extauthz replay --help)")
    if not 0 <= examples <= _MAX_EXAMPLES:
        raise ExtAuthzError(f"--examples: a number from 0 to {_MAX_EXAMPLES}")
    with Secrets(os.environ, passing=True) as secrets:
        written = secrets.load(config)
        told = _caller(written, role, subject, provider)
        with _progress(paths) as progress:
            found = compare(written, secrets, paths, policies or (), told=told, examples=examples, progress=progress)
    failed = _fails(found, fail_on)
    if output == "json":
        print(json.dumps({"ok": not failed, **found.as_json()}, indent=2))
    else:
        for line in _lines(found):
            print(harmless(line))
    return 1 if failed else 0


def _caller(config: "Config", roles: list[str] | None, subject: str, provider: str) -> "Identity | None":
    """The caller that the command line tells; None if it tells none."""
    if not roles and not subject and not provider:
        return None
    from extauthz.model import Identity

    known = [each.name for each in config.providers if each.mesh is None]
    if provider and provider not in known:
        raise ExtAuthzError(f"--provider: {provider!r} is not a configured provider ({', '.join(known) or 'none'})")
    if not provider and len(known) > 1:
        raise ExtAuthzError(f"say with --provider who vouches for the caller: {', '.join(known)}")
    return Identity(subject, "", provider or "".join(known), frozenset(roles or ()))


def _fails(found: "Comparison", fail_on: FailOn) -> bool:
    from extauthz.workbench.replay import Kind

    if fail_on == "never":
        return False
    if fail_on == "any":
        return found.unchanged < found.compared
    return found.count(Kind(fail_on)) > 0


@contextmanager
def _progress(paths: Sequence[str]) -> Iterator[Callable[[int, int], None]]:
    """Show how far it is, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _read, _records: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    sizes = [Path(path).stat().st_size for path in paths if path != "-" and Path(path).is_file()]
    total = sum(sizes) if len(sizes) == len(paths) else None
    columns = (
        TextColumn("{task.fields[records]:,} requests"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, records=0)
        yield lambda read, records: bar.update(task, completed=read, records=records)


def _lines(found: "Comparison") -> Iterator[str]:
    """The comparison for people."""
    from extauthz.workbench.replay import Kind

    headings = {
        Kind.DENIED: "would be denied, and were allowed",
        Kind.ALLOWED: "would be allowed, and were denied",
        Kind.OTHER: "would get the same answer by another rule or for another reason",
    }
    for kind, heading in headings.items():
        changes = found.changes(kind)
        if not changes:
            continue
        yield f"{found.count(kind):,} {heading}"
        for change in changes[:_GROUPS]:
            yield from _change_lines(change)
        if len(changes) > _GROUPS:
            yield f"  ... and {len(changes) - _GROUPS:,} more kinds of change: --output json has them"
        yield ""
    yield from _shadow_lines(found)
    changed = found.compared - found.unchanged
    yield f"{found.compared:,} compared, {changed:,} changed, {found.unchanged:,} unchanged"
    yield from _notes(found)


def _change_lines(change: "Change") -> Iterator[str]:
    doubt = f", {change.approximate:,} of them approximate" if change.approximate else ""
    yield f"  {change.old} -> {change.new}: {change.count:,}{doubt}"
    routes = change.by_count()
    for route, here in routes[:_ROUTES]:
        told = f", such as {' '.join(here.examples)}" if here.examples else ""
        yield f"    {here.count:,} {route}{told}"
    if len(routes) > _ROUTES:
        rest = sum(here.count for _, here in routes[_ROUTES:])
        yield f"    {rest:,} on {len(routes) - _ROUTES:,} more routes"


def _shadow_lines(found: "Comparison") -> Iterator[str]:
    if not found.shadows:
        return
    yield "In shadow mode, beside these answers"
    for (policy, rule), count in sorted(found.shadows.items()):
        name = f"{policy}/{rule}" if rule else policy
        told = f", such as {' '.join(count.examples)}" if count.examples else ""
        yield f"  {name} would allow {count.allow:,} and deny {count.deny:,}; {count.differs:,} differ{told}"
    yield ""


def _notes(found: "Comparison") -> Iterator[str]:
    """What has to be known about the figures."""
    if found.approximate:
        because = ", ".join(f"{name} ({count:,})" for name, count in found.doubts.most_common(8))
        yield f"{found.approximate:,} approximate, as the policies ask for what their records do not have: {because}"
    for provider, count in sorted(found.overlooked.items()):
        yield f"{count:,} by callers of {provider}, which the policies don't ask for: they count as nobody"
    if found.over_rate:
        yield f"{found.over_rate:,} over their rate, compared as if they were within it"
    for why, count in sorted(found.skipped.items(), key=lambda item: item[0].value):
        first = f", the first at {found.first_malformed}" if why.value == "malformed" else ""
        yield f"{count:,} left out: {why.sentence}{first}"
