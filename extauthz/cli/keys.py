"""``extauthz keys``: the keys that tokens are signed with, and (``keys api``) those that are given out to callers.

The commands on signing keys read the server's configuration and work on the same keys, with the same claims in the store;
the server needs not be told, and follows within its ``refresh``. Nothing that they print is a secret.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from extauthz.cli.api_keys import api_keys_app
from extauthz.cli.serve import ConfigFile
from extauthz.cli.tables import print_table
from extauthz.cli.terminal import complain, harmless
from extauthz.cli.times import spoken, written_time
from extauthz.cli.validate import OutputForm
from extauthz.errors import AuditError, ExtAuthzError, SigningError, StoreError

if TYPE_CHECKING:
    from extauthz.config import Config
    from extauthz.tokens.key_view import KeyState, SigningState
    from extauthz.tokens.signing import SigningKeys

__all__ = ["keys_app", "list_signing_keys", "revoke", "rotate"]

_SHORTEST_BEGINNING = 6
"""Characters of a kid that may stand for it."""

OneKey = Annotated[
    str | None,
    Parameter(name="kid", help="As `list` shows it, or its beginning.", allow_leading_hyphen=True),
]


def keys_app() -> App:
    """The command ``keys`` with all below it."""
    example = "Example: extauthz keys rotate --if-due --config /etc/extauthz/extauthz.yaml"
    app = App(
        name="keys",
        help="The keys that tokens are signed with, and API keys of callers.",
        help_format="markdown",
        help_epilogue=example,
        result_action="return_value",
    )
    app.command(list_signing_keys, name="list", help_epilogue="Example: extauthz keys list --output json")
    app.command(rotate, help_epilogue=example)
    app.command(revoke, help_epilogue="Example: extauthz keys revoke --current")
    app.command(api_keys_app())
    return app


def list_signing_keys(*, config: ConfigFile = None, output: OutputForm = "text") -> int:
    """Show the signing keys: which one signs, which ones are known to verifiers, what happens to each, and when.

    Exit code 1 if they can't be read.
    """

    async def show(keys: "SigningKeys") -> int:
        await keys.refresh()
        state = keys.state()
        if output == "json":
            print(json.dumps(_as_json(state), indent=2))
            return 0
        if not state.keys:
            sys.stderr.write("there is no key yet; the server makes the first one when it starts\n")
            return 0
        print_table(
            [["KID", "SLOT", "ALGORITHM", "CREATED", "THEN"], *(_row(key) for key in state.keys)],
            folds=["THEN"],
            leaves_out=["CREATED", "ALGORITHM"],
        )
        if state.next_rotation is not None:
            sys.stderr.write(f"the next key is made at {written_time(state.next_rotation)}\n")
        return 0

    return _with_keys(config, show, looking=True)


def rotate(
    *,
    config: ConfigFile = None,
    if_due: Annotated[bool, Parameter(negative="", help="Do nothing unless the schedule asks for it.")] = False,
    output: OutputForm = "text",
) -> int:
    """Make the next signing key. It is published now, and signs once every verifier has had the time to see it.

    Fit for a CronJob, beside any number of servers that rotate by themselves: never two keys for one. Exit code 0 if there
    is a new key or (--if-due) none is due, 1 if it can't be made now.
    """

    async def make(keys: "SigningKeys") -> int:
        await keys.refresh()
        before = {version.kid for version in keys.versions}
        made = await keys.rotate(force=not if_due)
        state = next(key for key in keys.state().keys if key.kid == made.kid)
        is_new = made.kid not in before
        if output == "json":
            print(json.dumps({"rotated": is_new, "key": _key_as_json(state)}, indent=2))
        elif is_new:
            print(f"{made.kid} ({made.algorithm}) is made; {_then(state)}")
        else:
            print(f"nothing is due: {made.kid} was made {spoken(state.age)} ago")
        return 0

    return _with_keys(config, make)


def revoke(
    kid: OneKey = None,
    /,
    *,
    current: Annotated[bool, Parameter(negative="", help="The key that signs now.")] = False,
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Destroy a signing key that somebody else may have, now: with it go all that are older, and what they have signed.

    If it is the newest one, another one is made first. What is the oldest then signs from this moment on. Exit code 1 if
    there is no such key, or it can't be destroyed.
    """
    if (kid is None) == (not current):
        raise ExtAuthzError("say which key: its kid, or --current")

    async def destroy(keys: "SigningKeys") -> int:
        await keys.refresh()
        before = [version.kid for version in keys.versions]
        doomed = _found(keys.state(), kid)
        if doomed is None:
            complain("there is no such key, or more than one begins like this", hint="extauthz keys list")
            return 1
        told: StoreError | AuditError | None = None
        try:
            await keys.revoke(doomed)
        except (StoreError, AuditError) as error:
            told = error
        left = {version.kid for version in keys.versions}
        gone = [one for one in before if one not in left]
        signs = next((key.kid for key in keys.state().keys if key.slot == "current"), None)
        if output == "json":
            print(json.dumps({"revoked": gone, "current": signs}, indent=2))
        else:
            print(f"destroyed: {', '.join(gone)}; tokens are signed with {signs} now")
        if told is not None:
            complain(f"the servers will see it by themselves within their refresh, but could not be told: {told}")
        return 0 if told is None else 1

    return _with_keys(config, destroy)


def _with_keys(file: str | None, work: "Callable[[SigningKeys], Awaitable[int]]", *, looking: bool = False) -> int:
    """Do something with the signing keys of a configuration. What can't be done now is an answer, and no wrong use."""
    from extauthz.app.signing import in_vault_of, opened_signing_keys
    from extauthz.app.vault import Secrets
    from extauthz.telemetry import configure_logs

    configure_logs("warning")

    async def run(config: "Config", secrets: Secrets) -> int:
        async with opened_signing_keys(config, in_vault_of(secrets, config), looking=looking) as keys:
            return await work(keys)

    try:
        with Secrets(os.environ, passing=True) as secrets:
            return asyncio.run(run(secrets.load(file), secrets))
    except (SigningError, StoreError, AuditError) as error:
        complain(str(error))
        return 1


def _found(state: "SigningState", beginning: str | None) -> str | None:
    """The one key that is meant; None: there is none, or more than one."""
    if beginning is None:
        return next((key.kid for key in state.keys if key.slot == "current"), None)
    if any(key.kid == beginning for key in state.keys):
        return beginning
    fitting = [key.kid for key in state.keys if key.kid.startswith(beginning)]
    return fitting[0] if len(fitting) == 1 and len(beginning) >= _SHORTEST_BEGINNING else None


def _then(key: "KeyState") -> str:
    """What happens to a key next."""
    now = time.time()
    if key.slot == "next":
        return f"signs from {written_time(key.signs)}" if key.signs > now else "signs when whoever writes it says so"
    if key.slot == "current":
        return "signs now" if key.replaced is None else f"signs until {written_time(key.replaced)}"
    if key.slot == "previous":
        return "published" if key.leaves is None else f"published until {written_time(key.leaves)}"
    return "is destroyed a day after nobody needs it any more"


def _row(key: "KeyState") -> list[str]:
    return [harmless(key.kid), key.slot, key.algorithm, written_time(key.created), _then(key)]


def _as_json(state: "SigningState") -> dict[str, Any]:
    due = state.next_rotation
    return {
        "backend": state.backend,
        "keys": [_key_as_json(key) for key in state.keys],
        "nextRotation": None if due is None else written_time(due),
    }


def _key_as_json(key: "KeyState") -> dict[str, Any]:
    times = {"created": key.created, "signsFrom": key.signs, "signsUntil": key.replaced, "publishedUntil": key.leaves}
    return {
        "kid": key.kid,
        "slot": key.slot,
        "algorithm": key.algorithm,
        **{name: None if moment is None else written_time(moment) for name, moment in times.items()},
    }
