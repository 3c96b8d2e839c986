"""What a running server says of itself, asked over its admin listener."""

import time

from extauthz.errors import UpstreamError
from extauthz.serving import Address, ask_admin
from extauthz.telemetry import read_samples
from extauthz.workbench.top import Seen

__all__ = ["look"]

_PATIENCE = 3.0
_FOUND = 200


def look(admin: Address) -> Seen:
    """Ask once.

    Raises:
        UpstreamError: It does not answer, or is no extauthz.

    """
    status, figures = ask_admin(admin, "/metrics", timeout=_PATIENCE)
    at = time.monotonic()
    if status != _FOUND or b"extauthz_check_total" not in figures:
        raise UpstreamError(f"{admin} is no admin listener of extauthz: it has no such /metrics")
    _, report = ask_admin(admin, "/readyz?verbose", timeout=_PATIENCE)
    status, activity = ask_admin(admin, "/activity", timeout=_PATIENCE)
    lines = report.decode("utf-8", "replace").splitlines()
    try:
        return Seen(at, read_samples(figures), lines, activity.decode() if status == _FOUND else "")
    except ValueError:
        raise UpstreamError(
            f"{admin} can't be read: it is no admin listener of extauthz, or one of another version"
        ) from None
