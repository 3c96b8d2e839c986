"""``extauthz explain``: why a request is allowed or denied, step by step."""

import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from extauthz.cli.asked import AskedCheck, AskedHeaders, AskedWords, request_of
from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import harmless
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError

if TYPE_CHECKING:
    from extauthz.config import Config
    from extauthz.workbench.explain import Question

__all__ = ["explain"]

_PATIENCE = 5.0
"""Seconds that a provider gets for what is missing."""
_WIDE = 4096
"""Columns where nobody has said how many there are."""


def explain(
    *request: AskedWords,
    header: AskedHeaders = None,
    curl: Annotated[str | None, Parameter(help="The request as a curl command line. Nothing is sent.")] = None,
    check: AskedCheck = None,
    log: Annotated[
        str | None,
        Parameter(help="A decision log to take the request from; needs --id.", allow_leading_hyphen=True),
    ] = None,
    id: Annotated[str | None, Parameter(help="The decision's id, or the request's.")] = None,  # noqa: A002 - the flag's name
    role: Annotated[list[str] | None, Parameter(negative="", help="A role that the caller has.")] = None,
    subject: Annotated[str, Parameter(help="Who the caller is.")] = "",
    provider: Annotated[str, Parameter(help="The provider that vouches for the caller.")] = "",
    claims: Annotated[str, Parameter(help="The claims of the caller's token, as a JSON object.")] = "",
    anonymous: Annotated[bool, Parameter(negative="", help="The caller has no credentials.")] = False,
    source: Annotated[str, Parameter(help="The address of the peer.")] = "192.0.2.1",
    principal: Annotated[str, Parameter(help="The principal of the peer's certificate.")] = "",
    context: Annotated[
        list[str] | None, Parameter(negative="", help="A context_extension of the route, `name=value`.")
    ] = None,
    sni: Annotated[str, Parameter(help="The server name of the TLS connection.")] = "",
    policies: Annotated[
        list[str] | None, Parameter(negative="", help="Policy files or folders to ask instead of the configured ones.")
    ] = None,
    config: ConfigFile = None,
    all: Annotated[bool, Parameter(negative="", help="Show what has nothing to do with the request, too.")] = False,  # noqa: A002
    output: OutputForm = "text",
) -> int:
    """Say why a request is allowed or denied: its canonical form, who asks, each policy and rule, and the answer.

    The request is given by METHOD and URL, by --curl, by --check, or taken from a decision log. Credentials in it are
    judged as the server judges them, which may fetch keys; or the caller is named by --role, --subject and --claims, or
    is --anonymous. No credential is ever shown. Exit code 0 if the request is allowed, 1 if it is denied.
    """
    from extauthz.app.explaining import explained, named_caller
    from extauthz.app.vault import Secrets
    from extauthz.telemetry import configure_logs
    from extauthz.workbench.explain import Connection, Question
    from extauthz.workbench.given import Given

    ways = [way for way in (request, curl, check, log) if way]
    if len(ways) != 1 or bool(log) != bool(id):
        raise ExtAuthzError(
            "say which request, in one way: METHOD URL, or --curl 'curl ...', or --check FILE, or --log FILE with --id ID"
        )
    named = bool(role or subject or provider or claims)
    if (anonymous and named) or (log and (anonymous or named)):
        raise ExtAuthzError("say who asks in one way: --role and the like, or --anonymous, or as --log has it")
    if not _is_address(source):
        raise ExtAuthzError(f"--source {source!r} is no IP address: write --source 192.0.2.1")
    connection = Connection(source, principal, dict(_pairs(context or ())), sni)
    with Secrets(os.environ, passing=True) as secrets:
        written = secrets.load(config)
        # What providers have to say about themselves is part of the explanation; on a terminal it would only stand in its way.
        configure_logs("error")
        if log:
            question = _recorded(written, log, id or "")
        else:
            question = Question(request_of(connection, request, header or (), curl, check))
        if anonymous:
            question = replace(question, given=Given())
        elif named:
            given = named_caller(written, subject=subject, provider=provider, roles=role or (), claims=_claims(claims))
            question = replace(question, given=given)
        told = explained(written, secrets, question, policies, patience=_PATIENCE)
    if output == "json":
        print(json.dumps(told, indent=2))
    else:
        _draw(told, everything=all)
    return 0 if told["decision"] == "allow" else 1


def _recorded(config: "Config", file: str, wanted: str) -> "Question":
    """A decision of a log."""
    from extauthz.workbench.explain import find_record, question_of_record

    mesh = frozenset(provider.name for provider in config.providers if provider.mesh is not None)
    try:
        with _lines(file) as lines:
            record = find_record(lines, wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise ExtAuthzError(f"{file} can't be read: {getattr(error, 'strerror', None) or error}") from None
    return question_of_record(record, mesh)


def _lines(file: str) -> "AbstractContextManager[Iterable[str]]":
    if file == "-":
        # As bytes: what is no text in it is another line than the one that is looked for, and no end of the command.
        return nullcontext(line.decode("utf-8", "replace") for line in sys.stdin.buffer)
    if file.endswith(".gz"):
        import gzip

        return gzip.open(file, "rt", encoding="utf-8", errors="replace")
    return Path(file).open(encoding="utf-8", errors="replace")


def _claims(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ExtAuthzError("""--claims is no JSON object: write --claims '{"tenant": "a"}'""")
    return value


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _pairs(written: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in written:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ExtAuthzError("a context has no name: write --context app=orders")
        yield name, value


def _draw(told: dict[str, Any], *, everything: bool) -> None:
    """On a terminal in its width and with colours; plain, and not folded, anywhere else."""
    from rich.console import Console

    from extauthz.workbench.explain import draw

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else _WIDE, highlight=False, markup=False, emoji=False)
    draw(told, console, everything=everything, harmless=harmless)
