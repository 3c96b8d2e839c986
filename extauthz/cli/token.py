"""``extauthz token``: what is in a token, whether it would be accepted, making one, revoking some."""

import asyncio
import json
import sys
import time
from typing import Annotated, Literal

from cyclopts import App, Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import harmless
from extauthz.cli.times import seconds_of, spoken
from extauthz.cli.token_client import client_app
from extauthz.cli.token_config import opened_config
from extauthz.cli.tokens_given import TokenFile, given_token
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError

__all__ = ["inspect", "mint", "revoke", "token_app", "verify"]

_WIDE = 10_000
"""Columns where nothing is folded."""


def token_app() -> App:
    """The command ``token`` with all below it."""
    example = "Example: extauthz token inspect token.txt"
    app = App(
        name="token",
        help="Look into tokens, verify, make and revoke them; clients of the token service.",
        help_format="markdown",
        help_epilogue=example,
        result_action="return_value",
    )
    app.command(inspect, help_epilogue=example)
    app.command(verify, help_epilogue="Example: extauthz token verify - < token.txt")
    app.command(
        mint, help_epilogue="Example: extauthz token mint --subject on-call --role admin --lifetime 5m > token.txt"
    )
    app.command(revoke, help_epilogue="Example: extauthz token revoke --subject alice")
    app.command(client_app())
    return app


def inspect(token: TokenFile = "-", /, *, config: ConfigFile = None, output: OutputForm = "text") -> int:  # noqa: S107
    """Explain a token claim by claim, say what is unusual about it, and whether it would be accepted and why not.

    The token is read from a file or from standard input, since a command line is seen by others. Its signature is never
    shown. Verifying it may fetch keys. Exit code 0 whatever the verdict is; `verify` has one for that.
    """
    from rich.console import Console

    from extauthz.app.token_judging import judged
    from extauthz.workbench.tokens import as_json, draw, look_at

    text = given_token(token)
    seen = look_at(text, time.time(), spoken)
    with opened_config(config) as (loaded, secrets):
        verdict = asyncio.run(judged(loaded, secrets, text))
    if output == "json":
        print(json.dumps(as_json(seen, verdict), indent=2))
        return 0
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else _WIDE, highlight=False, markup=False, emoji=False)
    draw(seen, verdict, console, harmless)
    return 0


def verify(token: TokenFile = "-", /, *, config: ConfigFile = None, output: OutputForm = "text") -> int:  # noqa: S107
    """Say whether a token would be accepted, by the providers of the configuration, wherever a request had it.

    Exit code 0 if it would, 1 with the reason if not, 2 if nobody can tell.
    """
    from extauthz.app.token_judging import judged
    from extauthz.workbench.tokens import verdict_json

    text = given_token(token)
    with opened_config(config) as (loaded, secrets):
        verdict = asyncio.run(judged(loaded, secrets, text))
    if verdict is None:
        raise ExtAuthzError("the configuration has no provider of JSON Web Tokens, so nobody can tell")
    if output == "json":
        print(json.dumps(verdict_json(verdict), indent=2))
    else:
        print(harmless(f"{'accepted' if verdict.accepted else verdict.reason}: {verdict.sentence}"))
        for note in verdict.notes:
            sys.stderr.write(harmless(note) + "\n")
    return 0 if verdict.accepted else 1


def mint(
    *,
    subject: Annotated[str, Parameter(help="Who the token is about.")],
    role: Annotated[list[str] | None, Parameter(help="A role that it gives; may be repeated.", negative="")] = None,
    audience: Annotated[
        list[str] | None, Parameter(help="Whom it is for; without it the first of tokens.audiences.", negative="")
    ] = None,
    scope: Annotated[list[str] | None, Parameter(help="A scope that it has; may be repeated.", negative="")] = None,
    lifetime: Annotated[
        str | None, Parameter(help="How long it lives: 90s, 5m; at most as the service allows.")
    ] = None,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Sign a token with the service's own keys, for a test or an emergency. Prints it, alone, on standard output.

    It is in the audit log before it is printed. Its client is `mint`, which nobody can be, so `token revoke --client mint`
    ends all of them. It can't be renewed; introspection tells those whom it is for that it is active, as of any token.
    """
    from extauthz.app.token_minting import Wanted, mint

    if not subject.strip():
        raise ExtAuthzError("--subject: a token is about somebody")
    seconds = None if lifetime is None else seconds_of("--lifetime", lifetime)
    wanted = Wanted(subject, audience or (), role or (), scope or (), seconds)
    with opened_config(config) as (loaded, secrets):
        minted = asyncio.run(mint(loaded, secrets, wanted))
    if not minted.recorded:
        sys.stderr.write("there is no audit log (tokens.audit), so nobody will know of this token\n")
    if output == "json":
        told = {"token": minted.token, "jti": minted.jti, "kid": minted.key_id, "expires_in": minted.lifetime}
        print(json.dumps(told, indent=2))
    else:
        print(minted.token)
        sys.stderr.write(f"a token of {harmless(subject)}, for {minted.lifetime} s; jti {minted.jti}\n")
    return 0


def revoke(
    token: TokenFile | None = None,
    /,
    *,
    subject: Annotated[str | None, Parameter(help="All tokens about this subject (sub).")] = None,
    client: Annotated[str | None, Parameter(help="All tokens that this client was given (client_id).")] = None,
    # What is made at random may begin like an option.
    key: Annotated[
        str | None, Parameter(help="All tokens that this key (kid) has signed.", allow_leading_hyphen=True)
    ] = None,
    family: Annotated[
        str | None, Parameter(help="All tokens of this session (sid).", allow_leading_hyphen=True)
    ] = None,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Revoke a token, given as a file or on standard input, or all tokens of somebody or something.

    Every replica denies them within a second. Refresh tokens end too. Nobody is kept from getting new ones: for that,
    remove the client, or the key with `extauthz keys revoke`.
    """
    from extauthz.app.token_revoking import revoke, revoke_token

    named: dict[Literal["subject", "client", "key", "family"], str | None]
    named = {"subject": subject, "client": client, "key": key, "family": family}
    asked = {kind: value for kind, value in named.items() if value}
    if len(asked) + (token is not None) != 1:
        raise ExtAuthzError("say what to revoke, in one way: a token, --subject, --client, --key or --family")
    text = None if token is None else given_token(token)
    with opened_config(config) as (loaded, _):
        if text is not None:
            done = asyncio.run(revoke_token(loaded, text))
        else:
            ((kind, value),) = asked.items()
            done = asyncio.run(revoke(loaded, kind, value))
    if output == "json":
        print(json.dumps({"revoked": done.kind, "value": done.value, "sessions": done.families}, indent=2))
    else:
        sessions = f"; sessions ended: {done.families}" if done.families or done.kind != "token" else ""
        print(harmless(f"revoked: {done.kind} {done.value}{sessions}"))
    return 0
