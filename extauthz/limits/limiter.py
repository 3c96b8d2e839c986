"""What every limiter is: asked to grant one charge, it answers at once, or with something to await.

A memory limiter answers at once. One whose counters are shared may have to ask its store: then the answer is a
``Pending``, which the journey awaits within the request's own deadline. A store that does not answer is no exception for
the caller of a limiter: it is a ``Deny`` with ``store-unavailable``, or a permit of a local limit, as the charge says.
"""

from typing import Protocol

from extauthz.model import Charge, Deny, Permit

__all__ = ["Limiter", "Pending"]


class Pending(Protocol):
    """A charge that a store is asked to grant."""

    async def settle(self) -> Permit | Deny:
        """The answer. A caller who stops waiting may be charged nevertheless, never twice."""
        ...


class Limiter(Protocol):
    """Counts charges. Belongs to one event loop."""

    def take(self, charge: Charge) -> "Permit | Deny | Pending":
        """Charge one request, unless that would be more than its rate: what is not granted is not counted."""
        ...
