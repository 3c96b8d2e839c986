"""``extauthz keys api``: giving out API keys, seeing who has one, taking them back.

Everything happens in the key file; a server that reads it follows within a second. A key is shown once, when it is made:
alone on standard output, so that a shell can take it from there, with all words about it on standard error.
"""

import json
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from extauthz.cli.tables import print_table
from extauthz.cli.terminal import complain, harmless
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError

__all__ = ["api_keys_app", "create", "list_keys", "revoke"]

_SPAN = re.compile(r"([0-9]{1,5})([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}
_PREFIX = re.compile(r"[a-z][a-z0-9]{1,14}_")

KeyFile = Annotated[str, Parameter(help="The key file, as `apiKeys.file` of the configuration names it.")]


def api_keys_app() -> App:
    """The command ``keys api`` with all below it."""
    example = "Example: extauthz keys api create --file keys.yaml --subject billing --roles partner --expires 90d"
    app = App(
        name="api",
        help="API keys for programs. Only their digests are kept.",
        help_format="markdown",
        help_epilogue=example,
        result_action="return_value",
    )
    app.command(create, help_epilogue=example)
    app.command(list_keys, name="list", help_epilogue="Example: extauthz keys api list --file keys.yaml")
    app.command(revoke, help_epilogue="Example: extauthz keys api revoke eak_7Ht2kQ9xWbLm --file keys.yaml")
    return app


def create(
    *,
    file: KeyFile,
    subject: Annotated[str, Parameter(help="Who the caller is.")],
    roles: Annotated[str, Parameter(help="What the caller may be: names with commas between them.")] = "",
    expires: Annotated[
        str | None, Parameter(help="After 12h, 90d or 52w, or at 2027-01-31T12:00:00Z; without it never.")
    ] = None,
    description: Annotated[str, Parameter(help="What the key is for.")] = "",
    prefix: Annotated[
        str | None,
        Parameter(help="As `apiKeys.prefix` of the configuration; without it that of the keys in the file, else eak_."),
    ] = None,
    output: OutputForm = "text",
) -> int:
    """Make a key, add its digest to the file, and print the key: it is shown this once and kept nowhere.

    The file is made if it does not exist, readable for its owner alone.
    """
    from extauthz.identity.api_key_editing import add_key
    from extauthz.identity.api_key_form import key_id_of
    from extauthz.identity.api_key_records import time_text

    if prefix is not None and not _PREFIX.fullmatch(prefix):
        raise ExtAuthzError("--prefix: 2 to 15 lower-case letters and digits, the first a letter, and an underscore")
    now = float(int(time.time()))
    end = None if expires is None else _end(expires, now)
    key = add_key(
        file,
        prefix=prefix,
        subject=subject,
        roles=[role.strip() for role in roles.split(",") if role.strip()],
        created=now,
        expires=end,
        description=description,
        random_bytes=secrets.token_bytes,
    )
    if output == "json":
        told = {
            "id": key_id_of(key),
            "key": key,
            "subject": subject,
            "expires": None if end is None else time_text(end),
        }
        print(json.dumps(told, indent=2))
    else:
        print(key)
        until = "never expires" if end is None else f"expires at {time_text(end)}"
        sys.stderr.write(f"API key {key_id_of(key)} of {harmless(subject)}, {until}. It is not shown again.\n")
    return 0


def list_keys(
    *,
    file: Annotated[str, Parameter(help="The key file, or the folder that `apiKeys.folder` names.")],
    output: OutputForm = "text",
) -> int:
    """Show the keys of a file or folder: whose they are, what they may do, until when. No secret, no digest."""
    from extauthz.identity.api_key_files import find_key_files, read_key_files
    from extauthz.identity.api_key_records import time_text

    now = time.time()
    rows: list[dict[str, str | list[str] | None]] = [
        {
            "id": record.id,
            "state": record.state(now),
            "subject": record.subject,
            "roles": list(record.roles),
            "created": None if record.created is None else time_text(record.created),
            "expires": None if record.expires is None else time_text(record.expires),
            "description": record.description,
        }
        for record in read_key_files(find_key_files(file, folder=Path(file).is_dir()))
    ]
    if output == "json":
        print(json.dumps(rows, indent=2))
    elif not rows:
        sys.stderr.write("there is no key yet\n")
    else:
        print_table(
            [[name.upper() for name in rows[0]], *([_cell(value) for value in row.values()] for row in rows)],
            folds=["ROLES", "DESCRIPTION"],
            leaves_out=["CREATED", "DESCRIPTION"],
        )
    return 0


def revoke(
    key_id: Annotated[str, Parameter(name="id", help="As `list` shows it; or the whole key, if that is what leaked.")],
    /,
    *,
    file: KeyFile,
) -> int:
    """Take a key back: it stays in the file, disabled, and is refused within a second.

    Exit code 1 if there is no such key.
    """
    from extauthz.identity.api_key_editing import revoke_key
    from extauthz.identity.api_key_form import key_id_of

    wanted = key_id_of(key_id) or key_id
    if not revoke_key(file, wanted):
        # What was given is not repeated: it may be most of a key.
        complain(f"{file} has no key with this id", hint="extauthz keys api list")
        return 1
    print(f"{wanted} is revoked")
    return 0


def _end(written: str, now: float) -> float:
    """When a key expires, in seconds since the epoch."""
    from extauthz.identity.api_key_records import parse_time

    span = _SPAN.fullmatch(written)
    try:
        end = now + int(span[1]) * _SECONDS[span[2]] if span else parse_time(written)
    except (ValueError, OverflowError):
        raise ExtAuthzError("--expires: write 12h, 90d, 52w, or a time such as 2027-01-31T12:00:00Z") from None
    if end <= now:
        raise ExtAuthzError("--expires: this time has passed")
    return end


def _cell(value: str | list[str] | None) -> str:
    text = ",".join(value) if isinstance(value, list) else value
    return harmless(text) if text else "-"
