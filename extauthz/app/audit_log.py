"""From the configuration to the audit log of the token service: for the server, and for commands that write to the same one."""

import time
from collections.abc import Callable

from extauthz.config import Tokens
from extauthz.telemetry import AuditFile, audit_key

__all__ = ["audit_log"]


def audit_log(tokens: Tokens, now: Callable[[], float] = time.time) -> AuditFile | None:
    """The log, of which nothing is opened yet; None if none is kept. Its secret is made at the first use.

    Raises:
        AuditError: The secret can't be used.
    """
    written = tokens.audit
    if written is None:
        return None
    key = audit_key(written.key_file, make=True)
    return AuditFile(written.file, key, now=now, clock=time.monotonic, when_it_fails=written.when_it_fails)
