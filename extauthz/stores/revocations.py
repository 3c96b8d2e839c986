"""Revocations in the order in which they were acknowledged, whatever keeps them.

There is one entry for each token, subject, client, family and key. What is revoked again and says more than the entry does
moves it to the end of the order, with both meanings joined; what says no more changes nothing, for whoever reads has it or
will come to it. So the log is never longer than what is revoked, and a reader that goes on from its cursor misses nothing.
"""

from extauthz.tokens.records import Revocation

__all__ = ["joined"]


def joined(one: Revocation | None, other: Revocation) -> Revocation:
    """What refuses all that either of two revocations of the same thing refuses, remembered as long as the longer of them."""
    if one is None:
        return other
    return Revocation(other.kind, other.value, max(one.before, other.before), max(one.until, other.until))
