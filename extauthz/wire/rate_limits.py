"""What a caller is told of a rate: the header fields of the IETF draft "RateLimit header fields for HTTP".

``RateLimit-Policy`` lists the limits of the rule (``q`` requests in ``w`` seconds), ``RateLimit`` what is left now (``r``)
and in how many seconds some of it is back (``t``). Both are Structured Fields (RFC 9651): lists of strings with
parameters. A limit is named by its rule, which says nothing of other callers.
"""

from extauthz.model import Charge, Permit

__all__ = ["rate_limit_headers"]

_WINDOW = 60
_BURST = "burst"


def rate_limit_headers(charge: Charge, permit: Permit | None) -> list[tuple[str, str]]:
    """The fields for a charge and what a limiter said to it; without a permit only what the limits are."""
    rate = charge.rate
    name = _string(charge.rule)
    limits = [f"{name};q={rate.per_minute};w={_WINDOW}"]
    if rate.burst is not None:
        limits.append(f"{_string(f'{charge.rule} {_BURST}')};q={rate.burst};w=1")
    told = [("ratelimit-policy", ", ".join(limits))]
    if permit is not None:
        told.append(("ratelimit", f"{name};r={permit.remaining};t={permit.reset}"))
    return told


def _string(text: str) -> str:
    """A Structured Fields string; rule names are printable ASCII, and what is not would not be one."""
    plain = "".join(char if " " <= char <= "~" else "?" for char in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
