"""``extauthz audit``: whether a log of what was done with tokens and keys is whole, and what it says."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.tables import folded, terminal_width
from extauthz.cli.terminal import harmless
from extauthz.cli.times import time_of
from extauthz.cli.token_config import opened_config
from extauthz.cli.tokens_given import given_token
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError

if TYPE_CHECKING:
    from extauthz.telemetry import AuditKey, AuditReport

__all__ = ["audit_app", "show", "verify"]

Files = Annotated[str, Parameter(help="Files of the log, oldest first, as rotation has left them.")]
KeyFile = Annotated[
    str | None,
    Parameter(help="The secret of the log; without it the one that the configuration names (tokens.audit.keyFile)."),
]


def audit_app() -> App:
    """The command ``audit`` with all below it."""
    example = "Example: extauthz audit verify audit.log.1 audit.log"
    app = App(
        name="audit",
        help="The log of what was done with tokens and keys: read it, and check that it is whole.",
        help_format="markdown",
        help_epilogue=example,
        result_action="return_value",
    )
    app.command(verify, help_epilogue=example)
    app.command(
        show, help_epilogue="Example: extauthz audit show audit.log --client billing --since 2026-11-26T08:00:00Z"
    )
    return app


def verify(
    *files: Files,
    key_file: KeyFile = None,
    expect_last: Annotated[
        str, Parameter(help="The `hash` of a line that must be there: what `verify` printed last time.")
    ] = "",
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Check that no line was changed, removed, added or moved, and say which is the first that is wrong.

    Lines that are missing at the end can't be seen from what is left: note the hash that is printed, elsewhere, and give
    it the next time as --expect-last. Exit code 0 if the log is whole, 1 if it is not.
    """
    from extauthz.telemetry import check_audit

    if not files:
        raise ExtAuthzError("name the files of the log, oldest first")
    with _key(key_file, config) as key:
        report = check_audit(files, key, expect_last)
    if output == "json":
        print(json.dumps(_as_json(report), indent=2))
    else:
        for note in report.notes:
            print(harmless(note))
        if report.where is not None:
            print(harmless(f"{report.where}: {report.fault}"))
        lines = f"{report.lines} {'line' if report.lines == 1 else 'lines'}"
        print(
            f"{lines}, {'whole' if report.whole else 'and then it is not whole'}; the last hash is {report.seal or '-'}"
        )
    return 0 if report.whole else 1


def show(
    *files: Files,
    client: Annotated[str | None, Parameter(help="Only what was done by, for or with this client.")] = None,
    subject: Annotated[str | None, Parameter(help="Only what concerns this subject.")] = None,
    action: Annotated[str | None, Parameter(help="Only this action, such as issue, refresh, revoke.")] = None,
    refused: Annotated[bool, Parameter(negative="", help="Only what was refused.")] = False,
    since: Annotated[str | None, Parameter(help="Not before: 2h, 3d, or a time such as 2026-11-26T08:00:00Z.")] = None,
    until: Annotated[str | None, Parameter(help="Not after, written like --since.")] = None,
    token: Annotated[
        str | None, Parameter(help="Only what was done with this token, which is in a file; - is standard input.")
    ] = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Show lines of the log to people. The chain is not checked: `verify` does that.

    With --token, only the lines about one token, which the log itself does not hold. Exit code 1 if nothing is shown.
    """
    if not files:
        raise ExtAuthzError("name the files of the log, oldest first")
    if token is None and key_file is not None:
        raise ExtAuthzError(
            "--key-file is for --token: tokens are in the log as keyed digests, all else is there to read"
        )
    wanted: dict[str, Any] = {"client_id": client, "subject": subject, "action": action}
    wanted["outcome"] = "refused" if refused else None
    if token is not None:
        with _key(key_file, config) as key:
            wanted["token"] = key.digest(given_token(token))
    lines = _lines(
        files,
        {name: value for name, value in wanted.items() if value is not None},
        None if since is None else time_of("--since", since, time.time()),
        None if until is None else time_of("--until", until, time.time()),
    )
    if output == "json":
        print(json.dumps(lines, indent=2))
    else:
        width = terminal_width()
        for line in lines:
            for text in folded(_told(line), width):
                print(text)
    if not lines:
        sys.stderr.write("no line is like that\n")
    return 0 if lines else 1


@contextmanager
def _key(file: str | None, config: str | None) -> "Iterator[AuditKey]":
    """The secret of the log: where it is said to be, or where the configuration says."""
    from extauthz.telemetry import audit_key

    if file is not None:
        yield audit_key(file, make=False)
        return
    with opened_config(config) as (loaded, _):
        if loaded.tokens is None or loaded.tokens.audit is None:
            raise ExtAuthzError("the configuration names no secret of the log (tokens.audit.keyFile): give --key-file")
        yield audit_key(loaded.tokens.audit.key_file, make=False)


def _lines(
    files: Sequence[str], wanted: dict[str, Any], since: float | None, until: float | None
) -> list[dict[str, Any]]:
    """The lines with these values, in these times."""
    from datetime import datetime

    from extauthz.telemetry import audit_lines

    found: list[dict[str, Any]] = []
    for file in files:
        for _, raw in audit_lines(file):
            try:
                line = json.loads(raw)
                at = datetime.fromisoformat(line["time"]).timestamp()
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if (since is None or at >= since) and (until is None or at <= until):
                found += [line] if all(line.get(name) == value for name, value in wanted.items()) else []
    return found


def _told(line: dict[str, Any]) -> list[str]:
    """One line for people: when, what, for whom, and what else is known."""
    known = {
        name: value for name, value in line.items() if name not in ("time", "action", "outcome", "prev", "hash", "seq")
    }
    names = {"client_id": "client", "key_id": "key", "address": "from"}
    # The digest of a token says nothing to a person beyond telling two of them apart.
    rest = [
        f"{names.get(name, name)}={str(value)[:12] if name == 'token' else value}"
        for name, value in known.items()
        if value
    ]
    fields = [str(line["time"])[:19] + "Z", f"{line.get('action')} {line.get('outcome')}", *rest]
    return [harmless(field) for field in fields]


def _as_json(report: "AuditReport") -> dict[str, Any]:
    where = report.where
    return {
        "whole": report.whole,
        "lines": report.lines,
        "first": report.first,
        "last": report.last,
        "hash": report.seal,
        "notes": list(report.notes),
        "fault": None if where is None else {"file": where.file, "line": where.line, "message": report.fault},
    }
