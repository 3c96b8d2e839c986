"""``extauthz agent``: the sidecar that keeps a workload's token fresh."""

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.config import Env

from extauthz.cli.times import seconds_of
from extauthz.errors import ExtAuthzError

if TYPE_CHECKING:
    from extauthz.app.agent import AgentOptions
    from extauthz.serving import Address

__all__ = ["AGENT_VARIABLES", "agent"]

AGENT_VARIABLES = Env("EXTAUTHZ_")
"""Each option is a variable too: --client-id is EXTAUTHZ_AGENT_CLIENT_ID."""

_MODE = re.compile(r"0?[0-7]{3}")
_DEFAULT_ADMIN = "127.0.0.1:8082"


def agent(
    *,
    service: Annotated[str, Parameter(help="The URL of the token service.")],
    grant: Annotated[
        Literal["client-credentials", "token-exchange", "refresh-token", "renew"],
        Parameter(help="How tokens are got."),
    ] = "client-credentials",
    client_id: Annotated[str, Parameter(help="The client's name at the service.")] = "",
    client_secret_file: Annotated[
        str, Parameter(help="The client's secret: one line. Read anew when it changes.")
    ] = "",
    client_secret_in: Annotated[
        Literal["basic", "post"],
        Parameter(help="Where the secret is sent: in a header or a form, as the client is registered."),
    ] = "basic",  # noqa: S107 - a place, and no secret
    client_key_file: Annotated[str, Parameter(help="Instead of a secret, the private key for assertions (PEM).")] = "",
    client_key_algorithm: Annotated[str, Parameter(help="What the key signs with.")] = "ES256",
    client_key_id: Annotated[str, Parameter(help="`kid` of the assertions.")] = "",
    issuer: Annotated[str, Parameter(help="Whom assertions are for, if it is not the URL of --service.")] = "",
    subject_token_file: Annotated[
        str, Parameter(help="For token-exchange: whose token it is, such as Kubernetes' projected one.")
    ] = "",
    subject_token_type: Annotated[
        Literal["jwt", "access-token"], Parameter(help="What kind of token that is.")
    ] = "jwt",  # noqa: S107 - a kind of token, and none
    refresh_token_file: Annotated[
        str, Parameter(help="For refresh-token: the file is replaced with each use; keep it on a disk.")
    ] = "",
    bootstrap_token_file: Annotated[str, Parameter(help="For renew: the access token to begin with.")] = "",
    resource: Annotated[str, Parameter(help="Whom the token is for; without it the client's first audience.")] = "",
    scope: Annotated[str, Parameter(help="Its scopes, with spaces between them; without it all of the client's.")] = "",
    token_file: Annotated[str, Parameter(help="Where the token is written; best in memory (tmpfs).")] = "",
    file_mode: Annotated[str, Parameter(help="Who may read it: 0600, or 0640 for a group.")] = "0600",
    listen: Annotated[str, Parameter(help="Where `GET /token` is answered: 127.0.0.1:8083 or unix:/path.")] = "",
    admin: Annotated[
        str, Parameter(help="Where /livez, /readyz and /metrics are; `none` for nowhere.")
    ] = _DEFAULT_ADMIN,
    admin_plaintext: Annotated[
        bool, Parameter(negative="", help="--admin may be reached from other machines, as Kubernetes' probes need it.")
    ] = False,
    ca_file: Annotated[str, Parameter(help="Authorities to trust instead of the system's (PEM).")] = "",
    allow_http: Annotated[
        bool,
        Parameter(
            negative="", help="A service on another machine is asked over plain HTTP: right where a mesh encrypts."
        ),
    ] = False,
    once: Annotated[bool, Parameter(negative="", help="Write a token and end, for init containers.")] = False,
    patience: Annotated[str, Parameter(help="With --once: how long to try while the service is down.")] = "60s",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Parameter(help="What is told: this, and what is worse.")
    ] = "info",
) -> int:
    """Keep a fresh token for a workload, as its sidecar: in a file, or behind a page on loopback.

    Renews at two thirds of the token's life. While the service is down the old token stays until it ends; then it is
    removed. SIGTERM ends it, SIGHUP renews now. Each option is an environment variable, too: for --client-id
    EXTAUTHZ_AGENT_CLIENT_ID. Exit code 0 after an orderly end; with --once 1 if no token could be had; 2 if it can't begin.
    """
    from extauthz.agent import ACCESS_TOKEN_TYPE, JWT_TYPE, Purpose
    from extauthz.app.agent import AgentOptions, keep_token, token_once

    files = {"token-exchange": subject_token_file, "refresh-token": refresh_token_file, "renew": bootstrap_token_file}
    options = AgentOptions(
        service=service,
        grant=grant,
        client_id=client_id,
        secret_file=client_secret_file,
        secret_in=client_secret_in,
        key_file=client_key_file,
        key_algorithm=client_key_algorithm,
        key_id=client_key_id,
        issuer=issuer,
        purpose=Purpose(resource, scope),
        source_file=files.get(grant, ""),
        subject_type=JWT_TYPE if subject_token_type == "jwt" else ACCESS_TOKEN_TYPE,  # noqa: S105 - a kind of token, and none
        token_file=token_file,
        file_mode=_mode(file_mode),
        ca_file=ca_file,
        allow_http=allow_http or _is_here(service),
        listen=_address("--listen", listen),
        admin=_address("--admin", "" if admin == "none" else admin),
        admin_plaintext=admin_plaintext,
        log_level=log_level,
    )
    given = {name for other, name in _FILES.items() if files.get(other)}
    if fault := _fault(options, given - {_FILES.get(grant, "")}, once=once):
        raise ExtAuthzError(fault)
    return token_once(options, seconds_of("--patience", patience)) if once else keep_token(options)


_FILES = {
    "token-exchange": "--subject-token-file",
    "refresh-token": "--refresh-token-file",
    "renew": "--bootstrap-token-file",
}


def _is_here(url: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fault(options: "AgentOptions", foreign: set[str], *, once: bool) -> str:
    """What does not fit together; empty if all does."""
    grant, named, proven = options.grant, bool(options.client_id), bool(options.secret_file or options.key_file)
    needed = _FILES.get(grant, "")
    http = options.service.startswith("http://")
    checks = (
        (options.service.startswith("https://") or http, "--service: write https://host or https://host:port"),
        (
            not http or options.allow_http,
            "--service: over plain HTTP anyone on the way reads the secrets; use https://, or --allow-http inside a mesh",
        ),
        (not needed or options.source_file, f"--grant {grant} needs {needed}"),
        (not foreign, f"--grant {grant} has no use for {', '.join(sorted(foreign))}"),
        (
            not (options.secret_file and options.key_file),
            "a client has one proof: --client-secret-file or --client-key-file",
        ),
        (
            grant == "renew" or (named and proven),
            f"--grant {grant} needs --client-id, and --client-secret-file or --client-key-file",
        ),
        (
            grant != "renew" or not (named or proven or options.purpose.form()),
            "--grant renew asks with the token before, for the same purpose: no client, --resource or --scope",
        ),
        (options.token_file or options.listen, "say where the token is to be: --token-file, --listen, or both"),
        (not once or options.token_file, "--once writes a file and ends: name it with --token-file"),
        (not once or not options.listen, "--once ends, and has no page: leave out --listen"),
    )
    return next((fault for fine, fault in checks if not fine), "")


def _mode(written: str) -> int:
    mode = int(written, 8) if _MODE.fullmatch(written) else 0
    if not mode & 0o400 or mode & 0o137:
        raise ExtAuthzError("--file-mode: 0600, or 0640 if the workload is another user of the same group")
    return mode


def _address(option: str, written: str) -> "Address | None":
    from extauthz.errors import ServingError
    from extauthz.serving import parse_address

    if not written:
        return None
    try:
        return parse_address(written)
    except ServingError as error:
        raise ExtAuthzError(f"{option}: {error}") from None
