"""``extauthz token client``: clients of the token service that are kept in its store.

A secret is shown once, when it is made: alone on standard output, so that a shell can take it from there, with all words
about it on standard error.
"""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.tables import print_table
from extauthz.cli.terminal import complain, harmless
from extauthz.cli.token_config import opened_config
from extauthz.cli.validate import OutputForm

if TYPE_CHECKING:
    from extauthz.app.token_registering import Registered
    from extauthz.tokens.clients import Client

__all__ = ["add", "client_app", "disable", "enable", "list_clients", "remove", "secret"]

ClientId = Annotated[str, Parameter(name="id", help="The name of the client (client_id).")]
Names = list[str] | None


def client_app() -> App:
    """The command ``token client`` with all below it."""
    example = "Example: extauthz token client add billing --audience https://orders.example.com --role billing"
    app = App(
        name="client",
        help="Clients of the token service that are in its store: register, disable and remove them.",
        help_format="markdown",
        help_epilogue=example,
        result_action="return_value",
    )
    app.command(add, help_epilogue=example)
    app.command(secret, help_epilogue="Example: extauthz token client secret billing")
    app.command(list_clients, name="list", help_epilogue="Example: extauthz token client list")
    app.command(disable, help_epilogue="Example: extauthz token client disable billing")
    app.command(enable, help_epilogue="Example: extauthz token client enable billing")
    app.command(remove, help_epilogue="Example: extauthz token client remove billing")
    return app


def add(
    client_id: ClientId,
    /,
    *,
    audience: Annotated[
        Names, Parameter(help="Whom its tokens may be for, the first unless it asks; may be repeated.", negative="")
    ] = None,
    role: Annotated[Names, Parameter(help="A role of its own tokens; may be repeated.", negative="")] = None,
    scope: Annotated[Names, Parameter(help="A scope that it may have; may be repeated.", negative="")] = None,
    grant: Annotated[
        list[Literal["clientCredentials", "refreshToken", "tokenExchange"]] | None,
        Parameter(help="How it may get tokens; without it, what the other options mean.", negative=""),
    ] = None,
    lifetime: Annotated[str | None, Parameter(help="How long its access tokens live, such as 5m.")] = None,
    refresh: Annotated[bool, Parameter(help="Its tokens come with a refresh token.", negative="")] = False,
    renew: Annotated[bool, Parameter(help="Its tokens may be renewed by POST /refresh.", negative="")] = False,
    exchange: Annotated[
        Names, Parameter(help="A provider whose tokens it may exchange; may be repeated.", negative="")
    ] = None,
    may_grant: Annotated[
        Names, Parameter(help="A role that exchanged tokens may have; without it all that they prove.", negative="")
    ] = None,
    secret_in: Annotated[Literal["header", "form"], Parameter(help="How it sends its secret.")] = "header",  # noqa: S107 - a place
    jwks_file: Annotated[
        str | None, Parameter(help="Instead of a secret: a file with its public keys (JWK Set).")
    ] = None,
    certificate_subject: Annotated[
        str | None, Parameter(help="Instead of a secret: the URI or DNS name in its certificate.")
    ] = None,
    may_introspect: Annotated[bool, Parameter(help="It may ask about tokens that are for it.", negative="")] = False,
    replace: Annotated[bool, Parameter(help="Replace the client of this id, its secret too.", negative="")] = False,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Register a client in the store, and print the secret that is made for it: it is shown this once.

    Exit code 1 if there is one of this id already; with --replace, if there is none.
    """
    from extauthz.app.token_registering import add_client

    written: dict[str, Any] = {
        "id": client_id,
        "audiences": tuple(audience or ()),
        "roles": tuple(role or ()),
        "scopes": tuple(scope or ()),
        "grants": tuple(grant or ()),
        "lifetime": lifetime,
        "refresh": refresh,
        "renew": renew,
        "exchange": _exchange(exchange, may_grant),
        "secretIn": secret_in,
        "jwksFile": jwks_file,
        "certificateSubject": certificate_subject,
        "mayIntrospect": may_introspect,
    }
    with opened_config(config) as (loaded, _):
        made = asyncio.run(add_client(loaded, written, replaces=replace))
    if made is None:
        there = "there is no client of this id" if replace else "there is a client of this id already"
        complain(there, hint="extauthz token client list")
        return 1
    _tell(made, output)
    return 0


def secret(
    client_id: ClientId,
    /,
    *,
    only: Annotated[bool, Parameter(help="End all its other secrets now.", negative="")] = False,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Make a new secret for a client. The last one stays in force until the next is made, or with --only ends at once.

    Exit code 1 if there is no client with secrets of this id.
    """
    from extauthz.app.token_registering import give_secret

    with opened_config(config) as (loaded, _):
        made = asyncio.run(give_secret(loaded, client_id, alone=only))
    if made is None:
        complain("there is no client of this id that has a secret", hint="extauthz token client list")
        return 1
    _tell(made, output)
    return 0


def list_clients(*, config: ConfigFile = None, output: OutputForm = "text") -> int:
    """Show the clients in the store: how each proves itself, and what it may have. No secret, no digest."""
    from extauthz.app.token_registering import registered_clients
    from extauthz.app.token_store import absent

    with opened_config(config) as (loaded, _):
        missing = absent(loaded)
        rows = [_row(client) for client in asyncio.run(registered_clients(loaded))]
    if missing:
        sys.stderr.write(f"there is no client: {harmless(missing)}\n")
    if output == "json":
        print(json.dumps(rows, indent=2))
    elif not rows and not missing:
        sys.stderr.write("there is no client in the store\n")
    elif rows:
        print_table(
            [[name.upper() for name in rows[0]], *([_cell(value) for value in row.values()] for row in rows)],
            folds=["GRANTS", "AUDIENCES", "ROLES", "SCOPES"],
            leaves_out=["SECRETS", "PROOF", "GRANTS"],
        )
    return 0


def disable(client_id: ClientId, /, *, config: ConfigFile = None, output: OutputForm = "text") -> int:
    """Refuse a client from now on, and revoke all tokens that it was given.

    It stays in the store with its secrets: `extauthz token client enable` lets it have tokens again. Exit code 1 if there
    is none of this id.
    """
    return _switch(client_id, config, output, disabled=True)


def enable(client_id: ClientId, /, *, config: ConfigFile = None, output: OutputForm = "text") -> int:
    """Let a disabled client have tokens again.

    Those that were revoked stay revoked. Exit code 1 if there is none of this id.
    """
    return _switch(client_id, config, output, disabled=False)


def remove(client_id: ClientId, /, *, config: ConfigFile = None, output: OutputForm = "text") -> int:
    """Remove a client from the store, and revoke all tokens that it was given.

    Exit code 1 if there is none of this id. The tokens are revoked even then, so it is also for a client that was taken
    out of the configuration.
    """
    from extauthz.app.token_registering import remove_client

    with opened_config(config) as (loaded, _):
        done = asyncio.run(remove_client(loaded, client_id))
    if output == "json":
        told = {"id": client_id, "removed": done.removed, "revoked": not done.written}
        print(json.dumps(told, indent=2))
        return 0 if done.removed else 1
    name = harmless(client_id)
    if done.removed and done.written:
        print(f"{name} is removed from the store; the one in the configuration has what it had")
    elif done.removed:
        print(f"{name} is removed, and what it was given is revoked")
    elif done.written:
        complain(
            f"{name} is a client of the configuration, not of the store", hint="take it out of tokens.clients first"
        )
    else:
        complain(
            "there is no client of this id in the store; what one was given before is revoked",
            hint="extauthz token client list",
        )
    return 0 if done.removed else 1


def _switch(client_id: str, config: str | None, output: OutputForm, *, disabled: bool) -> int:
    from extauthz.app.token_registering import switch_client

    with opened_config(config) as (loaded, _):
        done = asyncio.run(switch_client(loaded, client_id, disabled=disabled))
    if not done:
        complain("there is no client of this id in the store", hint="extauthz token client list")
        return 1
    if output == "json":
        print(json.dumps({"id": client_id, "disabled": disabled}, indent=2))
    else:
        told = "is disabled, and what it was given is revoked" if disabled else "is enabled"
        print(f"{harmless(client_id)} {told}")
    return 0


def _exchange(providers: Names, may_grant: Names) -> dict[str, Any] | None:
    if not providers and not may_grant:
        return None
    told: dict[str, Any] = {"providers": tuple(providers or ())}
    return told if may_grant is None else {**told, "mayGrant": tuple(may_grant)}


def _tell(made: "Registered", output: OutputForm) -> None:
    client = made.client
    if output == "json":
        print(json.dumps({"id": client.id, **({"secret": made.secret} if made.secret else {})}, indent=2))
        return
    if made.secret:
        print(made.secret)
    shown = "Its secret is not shown again." if made.secret else f"It proves itself by {client.authentication}."
    sys.stderr.write(f"client {harmless(client.id)} is registered. {shown}\n")


def _row(client: "Client") -> dict[str, str | list[str] | None]:
    return {
        "id": client.id,
        "state": "disabled" if client.disabled else "in force",
        "proof": client.authentication,
        "secrets": str(len(client.secret_digests)) if client.secret_digests else None,
        "grants": sorted(grant.rpartition(":")[2] for grant in client.grants),
        "audiences": list(client.audiences),
        "roles": list(client.roles),
        "scopes": list(client.scopes),
    }


def _cell(value: str | list[str] | None) -> str:
    text = ",".join(value) if isinstance(value, list) else value
    return harmless(text) if text else "-"
