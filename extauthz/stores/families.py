"""What becomes of a family when one of its refresh tokens is presented: the rule that all stores keep.

It is here once for those that hold a family while they decide, and once more in Lua for Redis, which decides in the store.
One suite drives all of them.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace

from extauthz.tokens.records import Family, Outcome, Rotation, Succession

__all__ = ["ends", "rotation", "selects"]


def ends(family: Family) -> float:
    """When a family ends, unless it is used before."""
    return min(family.expires, family.idle_until)


def rotation(family: Family, succession: Succession) -> Rotation:
    """The outcome, and the family as it is to be kept afterwards.

    At its end a family has ended. The grace lasts to its last moment, as far back as forward: replicas' clocks differ, and
    one that was set back does not make it longer. A grace of 0 is none.
    """
    presented, now = succession.presented, succession.now
    if family.revoked or now >= ends(family):
        return Rotation(Outcome.ENDED, family)
    if hmac.compare_digest(presented, family.current):
        changed = replace(
            family,
            current=succession.successor,
            previous=presented,
            sealed=succession.sealed,
            rotated=now,
            idle_until=succession.idle_until,
            generation=family.generation + 1,
        )
        return Rotation(Outcome.ROTATED, changed)
    replaced = family.generation > 0 and hmac.compare_digest(presented, family.previous)
    if replaced and succession.grace > 0 and abs(now - family.rotated) <= succession.grace:
        return Rotation(Outcome.REPEATED, family)
    return Rotation(Outcome.REUSED, replace(family, revoked=True))


def selects(client_id: str | None, subject: str | None) -> Callable[[Family], bool]:
    """Whose families are meant. Raises ValueError if nobody is named: all families of everybody never are."""
    if client_id is None and subject is None:
        raise ValueError("end_families needs a client, a subject, or both")
    return lambda family: client_id in {None, family.client_id} and subject in {None, family.subject}
